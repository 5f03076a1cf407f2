"""Real Sentinels fail over while many turns stream: does a log get a hole, or two answers? Is a model asked again?

ordered: SENTINEL FAILOVER, which loses the last writes. planned: the same with COORDINATED, which loses none and needs
Valkey 9. killed: SIGKILL for the primary. Before the failover every turn has streamed, and none ends before it is over.
Every turn is checked: what its client read on its connection, what a fresh reader reads, its record, its steps, the
calls of its product, and what is left in Redis. The exit status is 1 if anything was wrong.
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

import uvloop

from benchmarks.rig.measure import percentile
from benchmarks.rig.report import Report, options, run_main
from benchmarks.rig.services import workspace
from tests.support.sentinel_failovers import KINDS, Outcome, failovers, is_possible

COLUMNS = [
    "failover", "times", "turns", "holes", "mixtures", "other flaws", "model asked again", "clients cut off",
    "ordered again", "silence p50 s", "longest s",
]  # fmt: skip
LISTED = 20  # how many flaws of each failover are printed
HOLES = ("seq is not dense", "ids do not ascend", "different logs")
MIXTURES = ("the text is",)


async def measure(directory: Path, kind: str, args: argparse.Namespace) -> list[Outcome]:
    """Fail over again and again, always with the same processes."""
    found = []
    # The queue of an ordered failover is in another database, so that both ways are measured.
    async with failovers(directory, args.turns, queue_database=1 if kind == "ordered" else None) as service:
        for number in range(args.rounds):
            outcome = await service.once(kind)
            found.append(outcome)
            wrong = len(outcome.flaws) + outcome.produced_again
            print(f"{kind} {number + 1} of {args.rounds}: {wrong} wrong", file=sys.stderr)
            for flaw in outcome.flaws[:LISTED]:
                print(f"  {flaw}", file=sys.stderr)
    return found


def add_row(report: Report, kind: str, outcomes: list[Outcome], turns: int) -> bool:
    """Add the row of one kind of failover. Returns whether nothing was wrong."""
    holes = sum(outcome.count(*HOLES) for outcome in outcomes)
    mixtures = sum(outcome.count(*MIXTURES) for outcome in outcomes)
    others = sum(len(outcome.flaws) for outcome in outcomes) - holes - mixtures
    again = sum(outcome.produced_again for outcome in outcomes)
    cut = sum(outcome.reconnected for outcome in outcomes)
    repeated = sum(max(outcome.orders - 1, 0) for outcome in outcomes)
    silence_s = [pause_s for outcome in outcomes for pause_s in outcome.silence_s]
    counts = [str(number) for number in (holes, mixtures, others, again, cut, repeated)]
    times = [percentile(silence_s, 50), max(silence_s)]
    report.row(kind, str(len(outcomes)), str(len(outcomes) * turns), *counts, *times)
    return not (holes or mixtures or others or again)


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, "failover", rounds=10)
    parser.add_argument("--turns", type=int, default=200, help="that stream at a time (%(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="of failover (default: all)")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the logs of all processes here")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.turns = 1, 20
    report = Report("failover", args, COLUMNS)
    well = []
    for kind in filter(is_possible, args.kinds):
        with ExitStack() as exits:
            directory = args.logs / kind if args.logs else exits.enter_context(workspace())
            outcomes = uvloop.run(measure(directory, kind, args))
        well.append(add_row(report, kind, outcomes, args.turns))
    report.note("silence: the longest pause of each turn between two deltas, as its client saw it.")
    report.note("ordered again: Sentinel gave the failover up, and it was ordered once more, as an operator would do.")
    report.publish()
    sys.exit(0 if all(well) else 1)


if __name__ == "__main__":
    run_main(main)
