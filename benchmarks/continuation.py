"""Kills workers in the middle of answers, and counts what the model had to make twice.

The model server is an offline one that counts each word, and a real llama.cpp, which counts its tokens itself. The
model of that one is tiny and random, unless `--gguf` names another. killed: SIGKILL after 25, 50 and 75 % of an answer,
in each way in which answers go on. restarted: all workers, one after the other, while answers run (SIGTERM, and
TURNWIRE_DRAIN_S=0). Each text is checked to its end: what the client shows must be the result, and after the restarts
the text of an answer that nothing has disturbed.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvloop

from benchmarks.rig.continued import Kills, Restarts, kill, restart
from benchmarks.rig.measure import percentile
from benchmarks.rig.model_servers import LlamaCpp, Offline, Server
from benchmarks.rig.report import Report, options, run_main
from benchmarks.rig.services import redis_server, workspace
from stack.cluster import Stack
from stack.venvs import SetupError

MODES = ("off", "prefill", "flags", "prefix", "llama-stream", "responses")
OF_LLAMA = ("off", "prefill", "flags", "llama-stream")
EXACT = ("off", "llama-stream")  # with the tiny model: it writes on to its limit, so the length of a rest says nothing
SHARES = (25, 50, 75)
COLUMNS = ["server", "mode", "worker", "answers", "tokens made / of the answers", "tokens twice", "events dropped",
           "p50 ms to a new event", "text of an undisturbed answer"]  # fmt: skip


@contextmanager
def service(server: Server, mode: str, workers: int) -> Iterator[Stack]:
    """Run Turnwire without hooks, beside a model server."""
    env = {
        "TURNWIRE_LLM_BASE_URL": server.base_url(mode),
        "TURNWIRE_LLM_CONTINUE": mode,
        "TURNWIRE_DRAIN_S": "0",
    }
    with (
        workspace() as directory,
        redis_server(directory) as redis,
        Stack(directory / "turnwire", workers=workers, env=env, redis=redis) as stack,
    ):
        yield stack


def killed(report: Report, server: Server, mode: str, times: int) -> None:
    """Kill workers, and add a row for each share of the answer."""
    with service(server, mode, workers=2) as stack:
        for share in SHARES:
            print(f"{server.name}, {mode}: killed after {share} %", file=sys.stderr)
            seen: Kills = uvloop.run(kill(stack, server, share, times))
            report.row(
                server.name, mode, f"killed after {share} %", str(times), f"{seen.made / seen.needed:.3f}",
                float(seen.made - seen.needed), float(seen.dropped), percentile(seen.waits_ms, 50),
                f"{seen.same} of {times}",
            )  # fmt: skip


def restarted(report: Report, server: Server, mode: str, turns: int) -> None:
    """Restart all workers while answers run, and add a row."""
    print(f"{server.name}, {mode}: {turns} answers, all workers restarted", file=sys.stderr)
    with service(server, mode, workers=3) as stack:
        seen: Restarts = uvloop.run(restart(stack, server, turns))
    report.row(
        server.name, mode, f"{seen.restarts} restarted", str(turns), f"{seen.made / seen.needed:.3f}",
        float(seen.made - seen.needed), float(seen.dropped), None, f"{seen.same} of {turns}",
    )  # fmt: skip


def servers(stack: ExitStack, directory: Path, args: argparse.Namespace) -> Iterator[Server]:
    """Start the model servers, one after the other."""
    yield stack.enter_context(Offline.running(directory))
    if not args.offline:
        try:
            yield stack.enter_context(LlamaCpp.running(directory, args.gguf))
        except SetupError as error:
            print(f"without llama.cpp: {error}", file=sys.stderr)


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, "continuation", rounds=1)
    parser.add_argument("--kills", type=int, default=5, help="kills after each share of an answer (%(default)s)")
    parser.add_argument("--turns", type=int, default=100, help="answers that run at the restarts (%(default)s)")
    parser.add_argument("--modes", nargs="+", default=list(MODES), help="%(default)s", choices=MODES)
    parser.add_argument("--offline", action="store_true", help="do not start llama.cpp")
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="a model for llama.cpp")
    args = parser.parse_args()
    if args.quick:
        args.kills, args.turns = 1, min(args.turns, 20)
    report = Report("continuation", args, COLUMNS)
    with workspace() as directory, ExitStack() as stack:
        for server in servers(stack, directory, args):
            for mode in args.modes:
                if isinstance(server, LlamaCpp) and mode not in (OF_LLAMA if args.gguf else EXACT):
                    continue
                killed(report, server, mode, args.kills * args.rounds)
            for mode in args.modes if isinstance(server, Offline) else ():
                restarted(report, server, mode, args.turns)
    report.note("A kill takes back what the killed worker had not appended yet, so the next one may yield it again.")
    report.publish()


if __name__ == "__main__":
    run_main(main)
