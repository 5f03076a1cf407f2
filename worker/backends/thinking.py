"""Takes the reasoning out of a text that begins with `<think>…</think>`. It does no I/O."""

from typing import Final

_OPEN: Final = "<think>"
_CLOSE: Final = "</think>"


class ThinkSplitter:
    """Splits a streamed text into its reasoning and the answer behind it.

    Only a block at the very beginning is reasoning, because an answer may quote the tags. The white space around the
    block belongs to neither.
    """

    def __init__(self) -> None:
        self._held = ""
        self._state = "before"  # then "inside", "behind" (only white space so far), and "answer"

    def take(self, piece: str) -> tuple[str, str]:
        """Return the reasoning and the answer's text that this piece completes."""
        if self._state == "answer":
            return "", piece
        self._held += piece
        thoughts = ""
        if self._state == "before":
            begun = self._held.lstrip()
            if _OPEN.startswith(begun):
                return "", ""
            if not begun.startswith(_OPEN):
                return "", self._answer(self._held)
            self._state, self._held = "inside", begun[len(_OPEN) :]
        if self._state == "inside":
            thoughts, closed = self._thoughts()
            if not closed:
                return thoughts, ""
        text = self._held.lstrip()
        return thoughts, self._answer(text) if text else ""

    def rest(self) -> tuple[str, str]:
        """Return what is still held back at the end of the text."""
        held, self._held = self._held, ""
        return (held, "") if self._state == "inside" else ("", held if self._state == "before" else "")

    def _answer(self, text: str) -> str:
        self._state, self._held = "answer", ""
        return text

    def _thoughts(self) -> tuple[str, bool]:
        """Return the reasoning that is certain, and whether its block is closed."""
        thoughts, closing, behind = self._held.partition(_CLOSE)
        if closing:
            self._state, self._held = "behind", behind
            return thoughts, True
        kept = next((size for size in range(len(_CLOSE) - 1, 0, -1) if thoughts.endswith(_CLOSE[:size])), 0)
        cut = len(thoughts) - kept
        self._held = thoughts[cut:]
        return thoughts[:cut], False
