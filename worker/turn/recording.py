"""Records the events of a stream step while they pass, and reads them from the step's checkpoint again.

The checkpoint holds the events themselves and not a range of the log. A divergence removes events from the log, and a
producer may keep events to itself. In both cases, an answer that was paid for must not be lost.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from turnwire.shared.errors import TurnFailure
from turnwire.shared.events import ERROR, RUN_FAILED, ChatStreamEvent
from turnwire.shared.settings import Settings
from turnwire.worker.turn.boundary import encoded, in_band_error
from turnwire.worker.turn.parts import parts_of
from turnwire.worker.turn.redaction import RecordedEvent

_event: Final = msgspec.json.Decoder(ChatStreamEvent)
_redacted: Final = msgspec.json.Decoder(RecordedEvent)
_array: Final = msgspec.json.Decoder(list[msgspec.Raw])


class Recording:
    """Keeps the canonical bytes of the events, within the limits of a log."""

    def __init__(self, settings: Settings, *, redacted: bool = False) -> None:
        """`redacted`: whether the events have been redacted, so that nobody does it again."""
        self._settings = settings
        self._decode = (_redacted if redacted else _event).decode
        self._events: list[bytes] = []
        self._bytes = 0
        self.error: TurnFailure | None = None  # from the first event that reports an error

    @property
    def begun(self) -> bool:
        """True if at least one event was passed on."""
        return bool(self._events)

    def take(self, event: Any) -> ChatStreamEvent:
        """Record an event. Returns it in the form in which a later attempt will get it.

        Raises:
            ProducerError: `invalid_event`: the object is not an event.
            TurnFailure: `event_too_large`, or `log_too_large` if the events are more than a log may have.
        """
        settings = self._settings
        event_type, data = parts_of(event)
        canonical = encoded(event_type, data, settings.max_event_bytes)
        self._bytes += len(canonical)
        if len(self._events) >= settings.max_log_events or self._bytes > settings.max_log_bytes:
            raise TurnFailure("a stream step has more events than one turn may have", code="log_too_large")
        self._events.append(canonical)
        if event_type in {ERROR, RUN_FAILED} and self.error is None:
            error = in_band_error(data)
            self.error = TurnFailure(error.message, code=error.code, retryable=error.retryable)
            if error.retry_after_ms is not None:
                self.error.retry_after_s = error.retry_after_ms / 1000
        return self._decode(canonical)

    def result(self) -> bytes:
        """Return the step's result: a JSON array of the events, which are encoded already."""
        return b"[" + b",".join(self._events) + b"]"


def recorded(result: msgspec.Raw, *, redacted: bool = False) -> Iterator[ChatStreamEvent]:
    """Decode the events of a stored result, one at a time. `redacted`: as of Recording.

    Raises:
        msgspec.ValidationError: it is not the result of a stream.
    """
    return map((_redacted if redacted else _event).decode, _array.decode(result))
