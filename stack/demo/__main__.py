"""`python -m stack.demo` runs the crash demo. Its exit status is 0 if it saw everything that it claims."""

import signal
import sys
import time
from signal import SIGKILL
from typing import Any

import httpx
import msgspec

from stack.demo.model import ANSWER
from stack.demo.reading import Line, counts, keeps, shortened, standing, text, tokens, words
from stack.demo.scene import KEY, TURN, Scene, running
from stack.demo.screen import Screen
from stack.process import ProcessError
from stack.redis_server import ServerNotFoundError
from turnwire.shared.events import PART_UPDATED, RUN_COMPLETED, RUN_RESUMED

BODY = {"message": "What is a lease?"}
KILL_AFTER_WORDS = 12
INTERRUPTED = 130
MOST_PAID_TWICE = 4  # the word at which the answer broke off, and those that the killed worker did not take any more


class Demo:
    """One turn, one kill, one replay."""

    def __init__(self, scene: Scene, screen: Screen) -> None:
        self._scene = scene
        self._screen = screen
        self._ok = True
        self._holders: list[str] = []  # who held the lease, each time that we looked

    def run(self) -> bool:
        """Run the scenes. Returns True if every check held."""
        screen, scene = self._screen, self._scene
        screen.title("a turn of three steps: plan (model), search (tool), answer (model)")
        screen.command(f"curl -N -X POST …{TURN} -d '{msgspec.json.encode(BODY).decode()}'")
        lines, before = self._stream_and_kill()
        bill, ledger = scene.bill(), scene.ledger()
        self._show_cost(bill, ledger)

        screen.title("the same request again")
        screen.command(f"curl -N -X POST …{TURN} -d '{msgspec.json.encode(BODY).decode()}'")
        started_s = time.monotonic()
        replay = self._replay()
        screen.line(f"     answered in {(time.monotonic() - started_s) * 1000:.0f} ms: no job, no lease, no model call")
        bill_now, ledger_now = scene.bill(), scene.ledger()
        self._show_cost(bill_now, ledger_now)

        screen.title("was it so?")
        self._judge_takeover(lines, keeps(before, scene.checkpoints()))
        self._judge_cost(bill, ledger)
        self._check("the replay is the same answer", replay[-2]["data"]["finalText"] == ANSWER)
        free = (bill_now, ledger_now) == (bill, ledger)
        self._check("the replay cost nothing", replay[-1]["data"]["replayed"] and free)
        return self._ok

    def _judge_takeover(self, lines: list[Line], kept: bool) -> None:
        scene, (killed, *later) = self._scene, self._holders
        resumed = [line["data"]["attempt"] for line in lines if line["type"] == RUN_RESUMED]
        went_on = [(scene.worker_of(holder).running, holder.rpartition("#")[2]) for holder in later]
        self._check("one connection saw it all, and it ended completed", lines[-1]["type"] == RUN_COMPLETED)
        self._check("the worker that had the lease was killed", scene.worker_of(killed).exit_code == -SIGKILL)
        self._check("the other one took it, as attempt 2, and said so", went_on == [(True, "2")] and resumed == [2])
        self._check("the reader dropped nothing of the answer", len(standing(lines)) >= len(lines) - 1)
        self._check("what the reader keeps is the model's whole answer, once", text(standing(lines)) == ANSWER)
        self._check("plan and search were checkpointed before the kill, and not run again", kept)

    def _judge_cost(self, bill: list[dict[str, Any]], ledger: list[dict[str, Any]]) -> None:
        plan, answer = ([call for call in bill if call["key"].endswith(name)] for name in ("/plan", "/answer"))
        self._check("the model was paid once for the plan", [call["whole"] for call in plan] == [True])
        whole = [call["whole"] for call in answer]
        self._check("and for the answer: once cut off by the kill, once for the rest", whole == [False, True])
        paid = sum(call["tokens_out"] for call in answer) - len(ANSWER.split(" "))
        self._check("no more than four of its words were paid for twice", paid <= MOST_PAID_TWICE)
        used = [(row["outcome"], row["model_calls"], tokens(row)) for row in ledger]
        known = used == [("crashed", 1, tokens(plan[-1])), ("completed", 1, tokens(answer[-1]))]
        self._check("the ledger has a row for each attempt, with every call that was whole", known)

    def _stream_and_kill(self) -> tuple[list[Line], dict[int, dict[str, Any]]]:
        """Return every line of the one connection, and the checkpoints just before the kill."""
        lines: list[Line] = []
        checkpoints: dict[int, dict[str, Any]] = {}
        with self._scene.http.stream("POST", self._scene.turn_url, json=BODY) as response:
            response.raise_for_status()
            for raw in response.iter_lines():
                line = msgspec.json.decode(raw)
                lines.append(line)
                self._show(line)
                if line["type"] == RUN_RESUMED:
                    self._show_lease()
                elif not checkpoints and words(lines) == KILL_AFTER_WORDS:
                    checkpoints = self._scene.checkpoints()
                    self._kill()
        return lines, checkpoints

    def _kill(self) -> None:
        worker = self._scene.worker_of(self._show_lease())
        for position, step in self._scene.checkpoints().items():
            self._screen.command(f"redis-cli HGET '{KEY.steps}' {position}", f"{step['intent']}: {step['status']}")
        self._screen.command(f"kill -9 {worker.pid}", f"{worker.name} is dead; the client's connection stays open")
        worker.kill()

    def _show_lease(self) -> str:
        holder, ms = self._scene.lease()
        self._holders.append(holder)
        worker = self._scene.worker_of(holder)
        self._screen.command(f"redis-cli GET '{KEY.lease}'", f'"{holder}"   ({worker.name}, for {ms} ms more)')
        return holder

    def _replay(self) -> list[Line]:
        response = self._scene.http.post(self._scene.turn_url, json=BODY).raise_for_status()
        lines = [msgspec.json.decode(raw) for raw in response.content.splitlines()]
        for line in lines:
            self._show(line)
        return lines

    def _show(self, line: Line) -> None:
        if line["type"] == PART_UPDATED:
            self._screen.flow(line["data"]["delta"])
        else:
            data = msgspec.json.encode(line["data"]).decode()
            self._screen.line(f"   {line.get('id', ''):<5} {line['type']}  {shortened(data)}")

    def _show_cost(self, bill: list[dict[str, Any]], ledger: list[dict[str, Any]]) -> None:
        self._screen.command("curl …/bill    (at the model server)")
        for call in bill:
            self._screen.line(f"     {call['key']:<22} {counts(call)}{'' if call['whole'] else '   (cut off)'}")
        self._screen.line(f"     {len(bill)} calls, {sum(map(tokens, bill))} tokens")
        self._screen.command(f"curl …{TURN}/ledger")
        for row in ledger:
            attempt = f"attempt {row['attempt']} {row['outcome']}"
            partial = "   (what its checkpoints knew)" if row["partial"] else ""
            self._screen.line(f"     {attempt:<22} {counts(row)}{partial}")

    def _check(self, text: str, holds: bool) -> None:
        self._screen.check(text, holds=holds)
        self._ok = self._ok and holds


def main() -> int:
    """Run the demo. Returns the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: everything is stopped and removed
    screen = Screen()
    screen.line("Starting Redis, one API, two workers and a model server that keeps a bill ...")
    try:
        with running() as scene:
            ok = Demo(scene, screen).run()
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ServerNotFoundError, ProcessError, TimeoutError, httpx.HTTPError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    screen.line("")
    screen.line("All of it held." if ok else "Not all of it held: see FAIL above.")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
