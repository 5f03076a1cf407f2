"""Shows the demo: text that flows, notes, commands and their answers. It uses colours only on a terminal."""

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
        """Show the title of the next scene."""
        self._line(f"\n== {text}", BOLD)

    def line(self, text: str) -> None:
        """Show a line."""
        self._line(text, "")

    def command(self, text: str, answer: Any = "") -> None:
        """Show a command as somebody could have typed it, and its output."""
        self._line(f"   $ {text}", CYAN)
        if answer != "":
            self.line(f"     {answer}")

    def check(self, text: str, *, holds: bool) -> None:
        """Show a check and whether it held."""
        self._line(f"   {'ok  ' if holds else 'FAIL'}  {text}", GREEN if holds else RED)

    def flow(self, text: str) -> None:
        """Show a piece of an answer."""
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
