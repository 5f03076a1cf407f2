"""The command line of a benchmark, and its result: one table as text and, with `--json`, as JSON."""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.rig.measure import machine

Cell = str | float | None


def options(doc: str | None, name: str, *, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(prog=f"python3 dev.py bench {name}", description=doc)
    parser.add_argument("--rounds", type=int, default=rounds, help="how many rounds; medians are printed (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a short run, whose figures are rough")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    return parser


def run_main(main: Callable[[], None]) -> None:
    """Run a benchmark's `main`. Ctrl-C ends it with exit status 130 and without a traceback."""
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)


class Report:
    """Collects rows, prints them as one markdown table under the facts of the machine."""

    def __init__(self, name: str, args: argparse.Namespace, columns: Sequence[str]) -> None:
        self._facts = machine()
        self._name = name
        self._args = args
        self.columns = list(columns)
        self._rows: list[list[Cell]] = []
        self._notes: list[str] = []
        self._began_s = time.monotonic()

    def row(self, *cells: Cell) -> None:
        """Add a line to the table. Numbers are rounded only when they are printed."""
        self._rows.append(list(cells))

    def note(self, text: str) -> None:
        """Add a line below the table."""
        self._notes.append(text)

    def publish(self) -> None:
        """Print the table, and write the file of `--json`."""
        given = {name: value for name, value in vars(self._args).items() if name != "json"}
        settings = ", ".join(f"{name} {value}" for name, value in given.items())
        facts = ", ".join(f"{name} {value}" for name, value in self._facts.items())
        print(f"\n{self._name}: {settings}; {time.monotonic() - self._began_s:.0f} s\n{facts}\n")
        print(markdown(self.columns, self._rows))
        for note in self._notes:
            print(f"\n{note}")
        if self._args.json:
            document = {
                "benchmark": self._name,
                "settings": given,
                "machine": self._facts,
                "columns": self.columns,
                "rows": self._rows,
                "notes": self._notes,
            }
            self._args.json.write_text(json.dumps(document, indent=1, default=str) + "\n")


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a markdown table that is also readable as text."""
    texts = [list(columns), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in texts]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def ratio(ours: float, theirs: float, *, higher_is_better: bool = False) -> str:
    """Return how many times better Turnwire is; below 1 it is worse."""
    better, worse = (ours, theirs) if higher_is_better else (theirs, ours)
    times = better / worse if worse else math.inf
    return f"{times:.0f}x" if times >= 10 else f"{times:.1f}x"


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"
