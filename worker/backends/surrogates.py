"""Mends text that was cut between the two halves of a surrogate pair. It does no I/O.

JSON may write a character outside the basic plane as two escapes, and some servers send each of them in a chunk of its
own. Half a pair alone is no text: UTF-8 cannot encode it.
"""

import re
from typing import Final

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HIGH: Final = ("\ud800", "\udbff")


def without_surrogates(text: str) -> str:
    """Return the text with its pairs joined, and with U+FFFD in place of each half that stands alone."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class PairJoiner:
    """Joins the pieces of one text. It holds the first half of a pair back until the next piece comes."""

    def __init__(self) -> None:
        self._half = ""

    def take(self, piece: str) -> str:
        """Return what can be shown of the text now."""
        if not piece:
            return ""
        text, self._half = self._half + piece, ""
        if _HIGH[0] <= text[-1] <= _HIGH[1]:
            text, self._half = text[:-1], text[-1]
        return without_surrogates(text)

    def rest(self) -> str:
        """Return what is still held back at the end of the text."""
        half, self._half = self._half, ""
        return without_surrogates(half)
