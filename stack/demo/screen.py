"""What the demo shows: text that flows, notes, commands and their answers. Colours only on a terminal."""

import os
import sys
from typing import Any

BOLD, RED, GREEN, CYAN = "1", "31;1", "32", "36"


class Screen:
    """Writes to stdout."""

    def __init__(self) -> None:
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._flowing = False  # text without an end of line stands on the screen

    def title(self, text: str) -> None:
        """What comes next."""
        self._line(f"\n== {text}", BOLD)

    def line(self, text: str) -> None:
        """One line of its own."""
        self._line(text, "")

    def command(self, text: str, answer: Any = "") -> None:
        """What somebody could have typed, and what came of it."""
        self._line(f"   $ {text}", CYAN)
        if answer != "":
            self.line(f"     {answer}")

    def check(self, text: str, *, holds: bool) -> None:
        """One of the things that must be so."""
        self._line(f"   {'ok  ' if holds else 'FAIL'}  {text}", GREEN if holds else RED)

    def flow(self, text: str) -> None:
        """A piece of an answer."""
        self._write(text if self._flowing else f"   {text.lstrip()}")
        self._flowing = True

    def _line(self, text: str, colour: str) -> None:
        end = "\n" if self._flowing else ""
        self._flowing = False
        painted = f"\033[{colour}m{text}\033[0m" if self._colours and colour else text
        self._write(f"{end}{painted}\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
