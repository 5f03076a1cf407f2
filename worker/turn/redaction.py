"""Lets a product redact its events before anything is stored. It does no I/O.

A pattern may begin in one text delta and end in a later one. So the end of a text is held back, and the text goes on in
pieces that are safe: the redaction of a piece and that of the rest together are the redaction of the whole.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any, Final

from turnwire.shared.errors import TurnFailure
from turnwire.shared.events import RESULT, ChatStreamEvent
from turnwire.worker.turn.parts import parts_of

logger = logging.getLogger(__name__)

MOST_HELD: Final = 65_536  # characters; a longer text without a safe place to cut it goes on as a whole
CUTS: Final = 5  # how many places are tried before more text is awaited


class RedactError(TurnFailure):
    """The product's hook `redact` failed, or returned something that is not an event. The event is not stored."""

    code = "redact_failed"


class RecordedEvent(ChatStreamEvent, frozen=True):
    """An event of a stream step. It was redacted before the step recorded it."""


class Redaction:
    """The hook of a product, for one turn. `tail`: how many characters of a text are held back."""

    def __init__(self, redact: Callable[[ChatStreamEvent], Any], tail: int) -> None:
        self._redact = redact
        self.tail = tail

    async def over(self, events: AsyncIterator[Any]) -> AsyncGenerator[ChatStreamEvent]:
        """Yield the events of a producer, redacted. What is held back comes before the next other event, or at the end.

        Raises:
            RedactError: the hook failed.
            ProducerError: `invalid_event`: the producer yielded something that is not an event.
        """
        held = HeldText(self)
        async for event in events:
            for safe in held.take(event):
                yield safe
        for safe in held.rest():
            yield safe

    def final_text(self, text: str) -> str:
        """Return the redacted text of a whole answer, which the hook sees as a `result` event."""
        redacted = self.event(RESULT, {"finalText": text})
        final_text = "" if redacted is None else redacted.data.get("finalText")
        if not isinstance(final_text, str):
            raise RedactError("the hook `redact` returned a result without a text")
        return final_text

    def event(self, event_type: str, data: dict[str, Any]) -> ChatStreamEvent | None:
        """Return the redacted event; None: it is withheld.

        Raises:
            RedactError: the hook failed.
        """
        try:
            returned = self._redact(ChatStreamEvent(event_type, data))
            return None if returned is None else ChatStreamEvent(*parts_of(returned))
        except Exception as error:  # noqa: BLE001 - a product may raise anything
            # Its text may hold what must not be kept.
            logger.error("the hook redact failed: %s", type(error).__name__)  # noqa: TRY400
            raise RedactError("the product could not redact an event") from None


class HeldText:
    """The text of one part that has come and has not gone on."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._type = ""
        self._data: dict[str, Any] = {}  # of the deltas, beside the text
        self._text = ""

    def take(self, event: Any) -> Iterator[ChatStreamEvent]:
        """Take an event, and yield those that may go on."""
        if isinstance(event, RecordedEvent):
            yield from self.rest()
            yield event
            return
        event_type, data = parts_of(event)
        delta = data.get("delta")
        if not isinstance(delta, str):
            yield from self.rest()
            redacted = self._redaction.event(event_type, data)
            if redacted is not None:
                yield redacted
            return
        beside = {name: value for name, value in data.items() if name != "delta"}
        if (event_type, beside) != (self._type, self._data):
            yield from self.rest()
            self._type, self._data = event_type, beside
        self._text += delta
        yield from self._safe_piece()

    def rest(self) -> Iterator[ChatStreamEvent]:
        """Yield what is held back."""
        text, self._text = self._text, ""
        if text:
            redacted = self._redacted(text)
            if redacted is not None and redacted.data["delta"]:
                yield redacted

    def _safe_piece(self) -> Iterator[ChatStreamEvent]:
        text = self._text
        if len(text) <= self._redaction.tail:
            return
        whole = self._delta_of(self._redacted(text))
        for cut in self._cuts(len(text) - self._redaction.tail):
            piece = self._redacted(text[:cut])
            if self._delta_of(piece) + self._delta_of(self._redacted(text[cut:])) == whole:
                self._text = text[cut:]
                if piece is not None and piece.data["delta"]:
                    yield piece
                return
        if len(text) > MOST_HELD:
            yield from self.rest()

    def _cuts(self, latest: int) -> Iterator[int]:
        """Yield places to cut the text: the latest one, and before it the beginnings of words."""
        yield latest
        cut = latest
        for _ in range(CUTS - 1):
            cut = self._text.rfind(" ", 0, max(cut - 1, 0)) + 1
            if cut == 0:
                return
            yield cut

    def _redacted(self, text: str) -> ChatStreamEvent | None:
        redacted = self._redaction.event(self._type, {**self._data, "delta": text})
        if redacted is not None and not isinstance(redacted.data.get("delta"), str):
            raise RedactError("the hook `redact` returned a delta without a text")
        return redacted

    @staticmethod
    def _delta_of(event: ChatStreamEvent | None) -> str:
        return "" if event is None else event.data["delta"]
