"""Tells the servers of clients of turns that have ended or wait for a signal. It tries again until they have heard it.

Each turn with a callback has a job of its own, `callback:<run id>`, which is enqueued when the turn has ended or is
suspended. It tells of the state that the turn has when it runs: if the turn went on meanwhile, its next state is told.
It is tried again, with growing pauses, for as long as the turn is kept.
"""

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from turnwire.shared.callbacks import CallbackError
from turnwire.shared.errors import BadRequest, RecordUnreadable
from turnwire.shared.keys import CALLBACK_PREFIX, TurnKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.log_context import learn
from turnwire.shared.metrics import counter
from turnwire.shared.model import TurnRecord
from turnwire.shared.settings import Settings
from turnwire.shared.store.callbacks import FIRST_PAUSE_MS, LONGEST_PAUSE_MS, Callbacks
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.tracing import Span, TurnTrace, inside, tracing
from turnwire.worker.attempt.outcome import UNREADABLE_MS, Again, Done, pause_ms
from turnwire.worker.attempt.traced import attributes_of

if TYPE_CHECKING:
    from turnwire.worker.pool.callback_sender import CallbackSender

logger = logging.getLogger(__name__)

HTTP_STATUS: Final = "http.response.status_code"
_FAILURES: Final = counter("turnwire_callback_failures_total")

TYPES: Final = {
    TurnState.COMPLETED: "turn.completed",
    TurnState.FAILED: "turn.failed",
    TurnState.CANCELLED: "turn.failed",
    TurnState.SUSPENDED: "turn.suspended",
}


def sender_of(settings: Settings) -> "CallbackSender | None":
    """Return what sends callbacks; None if the settings allow none. It is imported only then: httpx takes 2 MB.

    Raises:
        SettingsError: a host or a secret of the settings cannot be used.
    """
    if not settings.callback_hosts:
        return None
    from turnwire.worker.pool.callback_sender import CallbackSender

    return CallbackSender(settings)


class CallbackOutbox:
    """Runs the jobs of callbacks. `sender`: None if this worker's settings allow no callbacks."""

    def __init__(self, store: TurnStore, callbacks: Callbacks, sender: "CallbackSender | None") -> None:
        self._store = store
        self._callbacks = callbacks
        self._sender = sender

    async def run(self, job_id: str) -> Done | Again:
        """Try once to tell of a turn. Returns what should become of the job."""
        try:
            key = TurnKey.parse(job_id.removeprefix(CALLBACK_PREFIX))
            record = await until_answered(self._store.record, key)
        except BadRequest:
            return Done()
        except RecordUnreadable as error:
            logger.warning("%s; this worker leaves its callback: %s", error, error.__cause__)
            return Again(UNREADABLE_MS)
        if record is None or record.callback is None or record.status not in TYPES:
            return Done()  # a turn that runs again enqueues this job anew at its next end
        learn(attempt=record.attempt, request_id=record.request_id)
        if self._sender is None:
            logger.warning("%s: this worker has no TURNWIRE_CALLBACK_HOSTS, so it leaves the callback", key.run_id)
            return Again(UNREADABLE_MS)
        state = f"{record.attempt}:{record.status.value}"
        begun = await until_answered(self._callbacks.begin, key, state)
        if begun is None:
            return Done()
        if begun.wait_ms:
            return Again(begun.wait_ms)
        try:
            await self._send(self._sender, record, begun.tries)
        except CallbackError as error:
            _FAILURES.add()
            again_ms = pause_ms(begun.tries, FIRST_PAUSE_MS, LONGEST_PAUSE_MS)
            logger.warning(
                "%s: try %d of its callback failed (%s); %d ms to the next", key.run_id, begun.tries, error, again_ms
            )
            return Again(again_ms)
        await until_answered(self._callbacks.done, key, state)
        return Done()

    @staticmethod
    async def _send(sender: "CallbackSender", record: TurnRecord, tries: int) -> None:
        assert record.callback is not None
        span = _span(record, tries)
        trace = span.context or TurnTrace.of(record).context
        with inside(span):
            try:
                status = await sender.send(record.callback, callback_id(record), body_of(record), trace)
            except CallbackError as error:
                if error.status is not None:
                    span.set({HTTP_STATUS: error.status})
                raise
            span.set({HTTP_STATUS: status})


def callback_id(record: TurnRecord) -> str:
    """Return the id by which a server knows a callback that it gets twice."""
    return f"{record.run_id}/{record.created_at}/{record.attempt}/{record.status.value}"


def body_of(record: TurnRecord) -> bytes:
    """Return what is told. It holds no content: whoever may read the turn finds that in its record."""
    data: dict[str, Any] = {
        "run_id": record.run_id,
        "tenant_id": record.tenant_id,
        "session_id": record.session_id,
        "turn_index": record.turn_index,
        "status": record.status,
        "attempt": record.attempt,
        "created_at": record.created_at,
        "completed_at": record.completed_at,
        "awaiting": record.awaiting,
        "persisted": record.persist != "pending",
        "error": {"code": record.error.code, "retryable": record.error.retryable} if record.error else None,
    }
    told_at = datetime.fromtimestamp((record.completed_at or record.updated_at) / 1000, UTC)
    return msgspec.json.encode({"type": TYPES[record.status], "timestamp": told_at, "data": data})


def _span(record: TurnRecord, tries: int) -> Span:
    """Begin the span of one try. It does not hold the path of the URL, which may hold a secret."""
    attributes = attributes_of(record, record.attempt) | {"turnwire.try": tries, "http.request.method": "POST"}
    address = urlsplit(record.callback or "")
    if address.hostname:
        attributes["server.address"] = address.hostname
    return tracing.of_turn(TurnTrace.of(record), "POST callback", "client", attributes, after=record.attempt)
