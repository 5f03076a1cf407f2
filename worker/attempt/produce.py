"""Runs the product's producer and forwards its events: unchanged, in order, and checked once."""

import logging
from http.client import responses
from typing import Any, Protocol

import msgspec

from turnwire.shared.errors import AttemptFenced, AttemptStopped, ProducerError, TurnFailure, storable
from turnwire.shared.events import ERROR, RESULT, RUN_FAILED, encode_event, result_data
from turnwire.shared.model import TurnError
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.turn.accumulator import TextAccumulator
from turnwire.worker.turn.boundary import encoded, in_band_error, opened
from turnwire.worker.turn.calling import ProductExitError, call, source_of
from turnwire.worker.turn.parts import parts_of
from turnwire.worker.turn.redaction import Redaction
from turnwire.worker.turn.turn import Turn

logger = logging.getLogger(__name__)

OWN_TYPE_PREFIX = "session.run."  # only Turnwire writes events of these types; those of a producer are withheld


class Produced(msgspec.Struct, frozen=True):
    """The text that a producer made, and its error if one of its events says that it failed."""

    text: str
    error: TurnError | None = None
    error_shown: bool = False  # whether the `error` event is in the log already


class Sink(Protocol):
    """Takes the bytes of a producer's events."""

    def put(self, event: bytes, *, own: bool = False) -> bool:
        """Take an event. Returns True when the caller must wait for `room`. `own`: it is Turnwire's event."""

    async def room(self) -> None:
        """Wait until there is room for more events."""


class Forwarder:
    """Checks a producer's events one by one, and collects the text and the error that they carry."""

    def __init__(self, turn: Turn, max_event_bytes: int, text: TextAccumulator) -> None:
        """`text` collects the text, also for those who ask when the producer was stopped."""
        self._turn = turn
        self._max_event_bytes = max_event_bytes
        self._text = text
        self._error: TurnError | None = None
        self._error_shown = False
        self._types: set[str] = set()  # of the events that carried no text
        self.has_result = False

    def take(self, event: Any) -> bytes | None:
        """Return the canonical bytes to append, or None for an event that is withheld.

        Raises:
            ProducerError: `invalid_event`: the object is not an event, or its data is not JSON.
            TurnFailure: `event_too_large`.
        """
        event_type, data = parts_of(event)
        if event_type.startswith(OWN_TYPE_PREFIX):
            if event_type == RUN_FAILED and self._error is None:
                self._error = in_band_error(data)
            return None
        canonical = encoded(event_type, data, self._max_event_bytes)
        if not self._text.add(event_type, data):
            self._types.add(event_type)
            if event_type == ERROR and self._error is None:
                self._error, self._error_shown = in_band_error(data), True
        if event_type == RESULT:
            self.has_result = True
        return canonical

    def produced(self, final_text: Any) -> Produced:
        """Return the outcome. If the producer has a final text of its own, that counts instead of the collected one."""
        text = storable(final_text) if isinstance(final_text, str) and final_text else self._text.text
        if not text and self._types and not self.has_result and self._error is None:
            named = ", ".join(sorted(self._types)[:20])
            logger.warning("%s: the answer is empty, because no event has text; types: %s", self._turn.run_id, named)
        return Produced(text, self._error, self._error_shown)


def _safe_message(error: Exception) -> str:
    """Return what a client may read of a product's exception: its type, and the status of its HTTP response if any.

    Its text may hold passwords, keys, hosts and paths. Only the log has it.
    """
    shown = error.__cause__ if isinstance(error, ProductExitError) and error.__cause__ else error
    status = getattr(getattr(error, "response", None), "status_code", None)
    answered = f": {status} {responses.get(status, '')}".rstrip() if isinstance(status, int) else ""
    return f"the product failed ({type(shown).__name__}{answered})"


async def produce(
    hooks: ChatTurnHooks, turn: Turn, forwarder: Forwarder, sink: Sink, redaction: Redaction | None = None
) -> Produced:
    """Run the producer to its end. `redaction`: that of the product; None: it has none.

    Raises:
        AttemptFenced: the lease was lost.
        AttemptStopped: the producer yielded an event after it was stopped.
        TurnFailure: the producer raised it, or one of its events is refused.
        ProducerError: the producer raised another exception. The message names its type only.
    """
    try:
        source = await source_of(hooks.produce, turn)
        async with opened(source, redaction) as stream:
            async for event in stream:
                canonical = forwarder.take(event)
                if canonical is not None and sink.put(canonical):
                    await sink.room()
        final_text = await call(source.final_text) if hasattr(source, "final_text") else None
        if redaction is not None and isinstance(final_text, str) and final_text:
            final_text = redaction.final_text(final_text)
    except (TurnFailure, AttemptFenced, AttemptStopped):
        raise
    except Exception as error:
        said = storable(error)
        logger.exception("%s: the product's producer raised an exception: %s", turn.run_id, said)
        raise ProducerError(_safe_message(error)) from error
    produced = forwarder.produced(final_text)
    if (
        not forwarder.has_result
        and produced.error is None
        and sink.put(encode_event(RESULT, result_data(produced.text, turn.usage.finish_reason)), own=True)
    ):
        await sink.room()
    return produced
