"""The boundary to a product's events: here its streams are opened, and each event is checked and encoded once."""

from collections.abc import AsyncIterator, Generator
from contextlib import aclosing, asynccontextmanager, nullcontext
from math import ceil
from typing import Any, Final

from turnwire.shared.errors import MAX_CODE_CHARACTERS, ProducerError, TurnFailure, storable
from turnwire.shared.events import encode_event
from turnwire.shared.model import TurnError
from turnwire.worker.turn.calling import contained, iterated
from turnwire.worker.turn.redaction import Redaction

YEAR_MS: Final = 365 * 24 * 3600 * 1000


@asynccontextmanager
async def opened(source: Any, redaction: Redaction | None = None) -> AsyncIterator[AsyncIterator[Any]]:
    """Open the events of `source`: an async iterator, a plain generator, or an object with one of them as `stream`.

    `redaction`: the events come out of it; None: the product does not redact them.

    A generator is closed at the end of the `with` block, however that ends. Whatever the product's code raises comes
    out as an Exception; see `contained`.

    Raises:
        ProducerError: the source is none of these.
    """
    stream: Any = source
    if not _makes_events(stream):
        stream = getattr(source, "stream", None)
    if not _makes_events(stream):
        raise ProducerError(f"a {type(source).__name__} is not an async iterator of events, and has none as `stream`")
    if isinstance(stream, Generator):
        stream = iterated(stream)
    with contained():
        async with aclosing(stream) if hasattr(stream, "aclose") else nullcontext():
            if redaction is None:
                yield stream
                return
            async with aclosing(redaction.over(stream)) as safe:
                yield safe


def _makes_events(source: Any) -> bool:
    return hasattr(source, "__aiter__") or isinstance(source, Generator)


def encoded(event_type: str, data: dict[str, Any], max_event_bytes: int) -> bytes:
    """Return the canonical bytes of an event.

    Raises:
        ProducerError: `invalid_event`: the data is not JSON.
        TurnFailure: `event_too_large`: the event has more than `max_event_bytes`.
    """
    try:
        event = encode_event(event_type, data)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProducerError(f"the producer yielded an event that is not JSON: {error}", code="invalid_event") from error
    if len(event) > max_event_bytes:
        raise TurnFailure("the producer yielded an event that is too large", code="event_too_large")
    return event


def in_band_error(data: dict[str, Any]) -> TurnError:
    """Return the error that an `error` event, or a producer's own `session.run.failed`, reports."""
    message, code = data.get("message"), data.get("code")
    return TurnError(
        code=storable(code)[:MAX_CODE_CHARACTERS] if isinstance(code, str) and code else "producer_error",
        message=storable(message) if isinstance(message, str) and message else "the producer reported an error",
        retryable=data.get("retryable") is True,
        retry_after_ms=milliseconds(data.get("retryAfterMs"), 1),
    )


def milliseconds(value: Any, unit_ms: int) -> int | None:
    """Return a time that a product gave, in ms, or None if it is no time of less than a year."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value * unit_ms < YEAR_MS:
        return None
    return ceil(value * unit_ms)
