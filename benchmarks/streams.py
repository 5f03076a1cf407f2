"""Measures streams: one turn with many readers, many paced turns, idle tails, replay, the cost in Redis, and peers.

Each figure is printed beside its floor: the same bytes from a bare ASGI app on the same server, in the same run.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.rig import fanout, idle_tails, latency_plot, paced_turns, peers, redis_cost, replay
from benchmarks.rig.measure import machine
from benchmarks.rig.report import Report, options, run_main
from benchmarks.rig.scene import COLUMNS, QUICK, TINY, Sizes
from stack.cluster import ROOT

PLOT = ROOT / "docs" / "latency.svg"

PARTS: dict[str, Callable[[Sizes, Report], Any]] = {
    "fanout": fanout.run,
    "idle": idle_tails.run,
    "replay": replay.run,
    "redis": redis_cost.run,
    "paced": paced_turns.run,
    "peers": peers.run,
}


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, "streams", rounds=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--plot", action="store_true", help="write docs/latency.svg from `paced`")
    parser.add_argument("--tiny", action="store_true", help="a smoke test: the figures mean nothing")
    args = parser.parse_args()
    sizes = TINY if args.tiny else QUICK if args.quick else Sizes(rounds=args.rounds)
    for part in args.only:
        print(part, file=sys.stderr)
        given = argparse.Namespace(**vars(args) | {"only": part, "json": file_of(args, part)})
        report = Report(f"streams, {part}", given, COLUMNS)
        points = PARTS[part](sizes, report)
        if args.plot and part == "paced":
            facts = ", ".join(f"{name} {value}" for name, value in machine().items() if name != "load before")
            PLOT.write_text(latency_plot.svg(points, facts))
            report.note(f"Drawn: {PLOT.relative_to(ROOT)}")
        report.publish()


def file_of(args: argparse.Namespace, part: str) -> Path | None:
    """Return the name of a part's own file: out.json becomes out-fanout.json."""
    file: Path | None = args.json
    return file and file.with_stem(f"{file.stem}-{part}")


if __name__ == "__main__":
    run_main(main)
