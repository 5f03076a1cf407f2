"""Writes to the terminal: colours and tables for people, tab-separated lines and JSON for programs.

Whatever comes from the API may hold text that a model or a stranger wrote. It is shown through `visible`, or as JSON
in which every character that a terminal could obey is escaped.
"""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"

STATUS_STYLES: Final = {
    "completed": GREEN, "running": CYAN, "queued": "", "suspended": YELLOW, "failed": RED, "cancelled": DIM,
}  # fmt: skip

# Control characters but LF and TAB, also the eight-bit ones, characters that reverse the order of a text, and halves of
# characters, which cannot be written.
_OBEYED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE_ENDS: Final = re.compile("[\t\n\u0085\u2028\u2029]+")


def visible(text: object) -> str:
    """Return a text without characters that a terminal would obey. Ends of lines and tabs stay."""
    return _OBEYED.sub("", str(text))


def in_a_line(text: object, most: int = 120) -> str:
    """Return a text as one line of at most `most` characters."""
    line = visible(_LINE_ENDS.sub(" ", str(text)))
    return line if len(line) <= most else line[: most - 1] + "…"


def as_json(document: Any) -> str:
    """Return a document as one line of JSON, in which characters that a terminal would obey are escaped."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads the stream, on a terminal that can do more than print lines."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def painted(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return the text in a colour, if the stream is a terminal (default: stdout) and NO_COLOR is not set."""
    if not (style and text) or os.environ.get("NO_COLOR") or not is_terminal(stream or sys.stdout):
        return text
    return f"\x1b[{style}m{text}\x1b[0m"


def say(text: str = "") -> None:
    """Write a line to stdout."""
    sys.stdout.write(f"{text}\n")


def note(text: str, style: str = DIM) -> None:
    """Write a line to stderr, where it does not mix with what a program reads from stdout."""
    sys.stderr.write(painted(text, style, sys.stderr) + "\n")
    sys.stderr.flush()


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    marks = sum(unicodedata.combining(character) != 0 for character in text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) - marks + wide


def table(header: Sequence[str], rows: Sequence[Sequence[object]], styles: Sequence[str] = ()) -> None:
    """Write a table to stdout. On a terminal it has columns, otherwise its cells are separated by tabs.

    Args:
        header: the names of the columns.
        rows: a cell that is None is shown as `-`.
        styles: the colour of each row; none if it is left out.
    """
    shown = [["-" if cell is None or cell == "" else in_a_line(cell, 100) for cell in row] for row in rows]
    if not is_terminal(sys.stdout):
        for row in [header, *shown]:
            say("\t".join(row))
        return
    if not rows:
        note("there are none")
        return
    widths = [max(map(width_of, column)) for column in zip(header, *shown, strict=True)]
    say(painted(_row(header, widths).upper(), BOLD))
    for row, style in zip(shown, styles or [""] * len(shown), strict=True):
        say(painted(_row(row, widths), style))


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - width_of(cell)) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()


def fields(pairs: Sequence[tuple[str, object]], styles: Mapping[str, str] | None = None) -> None:
    """Write names and values to stdout, one pair on each line. Pairs without a value are left out.

    In a pipe, a tab separates them, and begins each further line of a value. `styles`: the colours of values, by name.
    """
    known = [(name, visible(value)) for name, value in pairs if value is not None and value not in ("", {}, [])]
    longest = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        first, *others = value.split("\n")
        if not is_terminal(sys.stdout):
            say("\t".join([name, "\n\t".join([first, *others])]))
            continue
        say(f"{painted(name.ljust(longest), BOLD)}  {painted(first, (styles or {}).get(name, ''))}")
        for line in others:
            say(" " * (longest + 2) + line)


def duration(ms: float | None) -> str:
    """Return a span of time for people: `240ms`, `3.1s`, `2m 5s`, `3h 12m`, `4d 2h`; `-` if it is not known."""
    if ms is None:
        return "-"
    if ms < 1000:
        return f"{max(ms, 0):.0f}ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f}s"
    for unit, smaller, size, part in (("m", "s", 60, 1), ("h", "m", 3600, 60), ("d", "h", 86_400, 3600)):
        if seconds < size * (60 if unit == "m" else 24) or unit == "d":
            return f"{int(seconds // size)}{unit} {int(seconds % size // part)}{smaller}"
    raise AssertionError("days have no end")


def since(now_ms: int, then_ms: int | None) -> str:
    """Return how long ago something was; `-` if that is not known."""
    return duration(None if then_ms is None else now_ms - then_ms)


def cost(nanos: int | None, currency: str | None) -> str:
    """Return a cost for people, such as `0.0012 USD`; `unknown` if it is not known."""
    if nanos is None:
        return "unknown"
    amount = f"{nanos / 1_000_000_000:.6f}".rstrip("0").rstrip(".")
    return f"{amount or '0'} {currency}" if currency else (amount or "0")
