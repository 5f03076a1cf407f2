"""`python -m stack.demo`: the crash demo. Exit status 0 if everything that it claims was seen to be so."""

import signal
import sys
import time
from signal import SIGKILL
from typing import Any

import httpx
import msgspec

from shared.events import PART_UPDATED, RUN_COMPLETED, RUN_RESUMED, Cursor
from stack.demo.model import ANSWER
from stack.demo.scene import KEY, TURN, Scene, running
from stack.demo.screen import Screen
from stack.process import ProcessError
from stack.redis_server import ServerNotFoundError

BODY = {"message": "What is a lease?"}
KILL_AFTER_WORDS = 12
SHOWN_CHARACTERS = 90
INTERRUPTED = 130

Line = dict[str, Any]


class Demo:
    """One turn, one kill, one replay."""

    def __init__(self, scene: Scene, screen: Screen) -> None:
        self._scene = scene
        self._screen = screen
        self._ok = True
        self._holders: list[str] = []  # of the lease, each time that we looked

    def run(self) -> bool:
        """True if every check held."""
        screen, scene = self._screen, self._scene
        screen.title("a turn of three steps: plan (model), search (tool), answer (model)")
        screen.command(f"curl -N -X POST …{TURN} -d '{msgspec.json.encode(BODY).decode()}'")
        lines, before = self._stream_and_kill()
        kept, bill = standing(lines), scene.bill()
        by_name = {name: [call for call in bill if call["key"].endswith(f"/{name}")] for name in ("plan", "answer")}
        self._show_bill(bill)
        after = scene.checkpoints()
        resumed = [line for line in lines if line["type"] == RUN_RESUMED]

        screen.title("the same request again")
        screen.command(f"curl -N -X POST …{TURN} -d '{msgspec.json.encode(BODY).decode()}'")
        started_s = time.monotonic()
        replay = self._replay()
        screen.line(f"     answered in {(time.monotonic() - started_s) * 1000:.0f} ms: no job, no lease, no model call")
        self._show_bill(scene.bill())

        screen.title("was it so?")
        self._check("one connection saw it all, and it ended completed", lines[-1]["type"] == RUN_COMPLETED)
        self._check("the worker that had the lease was killed", scene.worker_of(self._holders[0]).exit_code == -SIGKILL)
        attempts = [(scene.worker_of(one).running, one.rpartition("#")[2]) for one in self._holders[1:]]
        self._check("the other one took it, as attempt 2, and said so", attempts == [(True, "2")] and len(resumed) == 1)
        self._check("what the reader keeps is the model's whole answer, once", text(kept) == ANSWER)
        self._check("plan and search were checkpointed before the kill, and not run again", keeps(before, after))
        self._check("the model was paid once for the plan", [call["whole"] for call in by_name["plan"]] == [True])
        whole = [call["whole"] for call in by_name["answer"]]
        self._check("and for the answer: once cut off by the kill, once whole", whole == [False, True])
        self._check("the replay is the same answer", replay[-2]["data"] == {"finalText": ANSWER})
        self._check("the replay cost nothing", replay[-1]["data"]["replayed"] and scene.bill() == bill)
        return self._ok

    def _stream_and_kill(self) -> tuple[list[Line], dict[int, dict[str, Any]]]:
        """Every line of the one connection, and the checkpoints just before the kill."""
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

    def _show_bill(self, bill: list[dict[str, Any]]) -> None:
        self._screen.command("curl …/bill    (at the model server)")
        for call in bill:
            state = "" if call["whole"] else "   (cut off)"
            tokens = f"{call['tokens_in']:>3} tokens in, {call['tokens_out']:>3} out"
            self._screen.line(f"     {call['key']:<22} {tokens}{state}")
        total = sum(call["tokens_in"] + call["tokens_out"] for call in bill)
        self._screen.line(f"     {len(bill)} calls, {total} tokens")

    def _check(self, text: str, holds: bool) -> None:
        self._screen.check(text, holds=holds)
        self._ok = self._ok and holds


def text(lines: list[Line]) -> str:
    """What a reader of the deltas sees."""
    return "".join(line["data"]["delta"] for line in lines if line["type"] == PART_UPDATED)


def shortened(data: str) -> str:
    """Enough of it to recognise it."""
    return data if len(data) <= SHOWN_CHARACTERS else data[: SHOWN_CHARACTERS - 1] + "…"


def words(lines: list[Line]) -> int:
    """How many deltas there are."""
    return sum(line["type"] == PART_UPDATED for line in lines)


def standing(lines: list[Line]) -> list[Line]:
    """What is left when a client does as `session.run.resumed` says: drop what came after its cursor."""
    kept: list[Line] = []
    for line in lines:
        if line["type"] == RUN_RESUMED:
            after = Cursor.parse(line["data"]["after"])
            kept = [one for one in kept if Cursor.parse(one["id"]) <= after]
        kept.append(line)
    return kept


def keeps(before: dict[int, dict[str, Any]], after: dict[int, dict[str, Any]]) -> bool:
    """The product's two steps were done, and their records are still the same."""
    done = [step["intent"] for step in before.values() if step["status"] == "completed"]
    return done == ["plan", "search"] and all(after[position] == step for position, step in before.items())


def main() -> int:
    """Run it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: everything is ended and removed
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
