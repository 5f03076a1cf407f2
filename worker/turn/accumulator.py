"""Puts the answer's text together from the events that a producer yields. It does no I/O.

The text deltas of one part id are joined, and the parts follow each other in the order in which they began. An event
with a part's whole `text` replaces the deltas of that part. A delta without a part is text. Other parts, such as
reasoning, do not count. A `result` with a `finalText` replaces everything before it.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from turnwire.shared.events import PART_UPDATED, RESULT, ChatStreamEvent

_event: Final = msgspec.json.Decoder(ChatStreamEvent)
_NO_PART: Final = {"type": "text"}


class TextAccumulator:
    """Collects the text: `add` every event, and read `text`."""

    def __init__(self) -> None:
        self._parts: dict[str, list[str]] = {}

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(piece for pieces in self._parts.values() for piece in pieces)

    def add(self, event_type: str, data: dict[str, Any]) -> bool:
        """Take one event. Returns True if it carries text; an event without text is ignored."""
        if event_type == PART_UPDATED:
            part = data.get("part", _NO_PART)
            if not isinstance(part, dict) or part.get("type") != "text":
                return False
            part_id, delta = part.get("id"), data.get("delta")
            pieces = self._parts.setdefault(part_id if isinstance(part_id, str) else "", [])
            if isinstance(delta, str) and delta:
                pieces.append(delta)
                return True
            text = part.get("text")
            if isinstance(text, str):
                pieces[:] = [text]
                return text != ""
        elif event_type == RESULT and isinstance(data.get("finalText"), str):
            self._parts = {"": [data["finalText"]]}
            return True
        return False


def text_of(events: Iterable[bytes]) -> str:
    """Return the text of a stretch of a log. `events` are canonical bytes."""
    accumulator = TextAccumulator()
    for event in map(_event.decode, events):
        accumulator.add(event.type, event.data)
    return accumulator.text
