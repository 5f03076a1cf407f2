"""Decides what is written when the work of an attempt has ended: the last events, and the fields of the turn."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from turnwire.shared.errors import AttemptFenced, ProducerError, RecordUnreadable, StoreLost, TurnFailure, storable
from turnwire.shared.events import ERROR, RUN_COMPLETED, RUN_FAILED, completed_data, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Persist, StepRecord, TurnError
from turnwire.shared.replies import Settled
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.scripts import Arg, LogBehind, StepsBehind
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.attempt import Attempt, Stop
from turnwire.worker.attempt.restore import restore
from turnwire.worker.turn.boundary import milliseconds

logger = logging.getLogger(__name__)

CANCELLED = "cancelled"


class Ending(msgspec.Struct, frozen=True):
    """The end of an attempt's work: an answer, or an error, which may still leave a text to keep."""

    text: str | None
    persist: Persist = "none"
    error: TurnError | None = None
    error_shown: bool = False  # the producer's own `error` event is in the log already
    untransformed: str | None = None  # a text that nobody may see before the outbox has transformed it
    # The producer's, if no hook follows it: the write that ends the turn stores it. There is none beside an error,
    # because that write does not keep the events of the step for a turn that is asked again.
    step: StepRecord | None = None

    def fields(self) -> dict[str, Arg]:
        """Return the fields of the turn hash that this ending sets."""
        fields: dict[str, Arg] = {"persist": self.persist}
        if self.text is not None:
            fields["final_text"] = storable(self.text)
        if self.untransformed is not None:
            fields["untransformed"] = storable(self.untransformed)
        if (error := self.error) is not None:
            fields |= {"error_code": error.code, "error_message": error.message, "retryable": int(error.retryable)}
            if error.retry_after_ms is not None:
                fields["retry_after_ms"] = error.retry_after_ms
        return fields

    def last_events(self, session_id: str, finish_reason: str | None) -> tuple[TurnState, list[bytes]]:
        """Return the state that the turn ends in, and its last events. `finish_reason`: of the last model call.

        The terminal event comes last. An `error` event comes before it, unless the client has read one already.
        """
        error = self.error
        if error is None:
            persisted = self.persist != "pending"
            data = completed_data(session_id, finish_reason, replayed=False, persisted=persisted)
            return TurnState.COMPLETED, [encode_event(RUN_COMPLETED, data)]
        failed = encode_event(RUN_FAILED, {"sessionId": session_id, "message": error.message, "code": error.code})
        if error.code == CANCELLED:
            return TurnState.CANCELLED, [failed]
        if self.error_shown:
            return TurnState.FAILED, [failed]
        told = {"code": error.code, "message": error.message, "retryable": error.retryable}
        if error.retry_after_ms is not None:
            told["retryAfterMs"] = error.retry_after_ms
        return TurnState.FAILED, [encode_event(ERROR, told), failed]


def cancelled_for(reason: str) -> Ending:
    """Return the ending of a turn that was cancelled, with the reason that was given, which may be empty."""
    message = f"the turn was cancelled: {reason}" if reason else "the turn was cancelled"
    return Ending(None, error=TurnError(CANCELLED, message, retryable=False))


TIMED_OUT: Final = Ending(None, error=TurnError("timeout", "the turn took longer than it may", retryable=True))


Stopped: TypeAlias = Literal[Stop.SUSPEND, Stop.DRAIN, Stop.LIMIT, Stop.CANCEL]


def ending_of(attempt: Attempt, work: "asyncio.Task[Ending]") -> Ending | Stopped:
    """Return how the work ended by itself, or the reason why it was stopped, if it has no result.

    Whatever the work raised becomes an ending with an error. A product may swallow its cancellation, or turn it into an
    error of its own: then the reason for the stop counts all the same.

    Raises:
        AttemptFenced: the lease was lost.
        StoreLost: the store has lost the last writes of the attempt.
        RecordUnreadable: what an earlier attempt stored cannot be read.
    """
    if attempt.stopped is Stop.LOST:
        raise AttemptFenced("the lease was lost")
    if attempt.stopped is Stop.STORE_LOST:
        raise StoreLost("the store has lost the last writes of this attempt")
    if attempt.stopped is Stop.SUSPEND:
        return attempt.stopped
    ended = work.done() and not work.cancelled()
    error = work.exception() if ended else None
    if attempt.stopped is not None and (not ended or error is not None):
        return attempt.stopped
    if work.cancelled():
        return Ending(None, error=TurnError(ProducerError.code, "the producer cancelled itself", retryable=False))
    if error is None:
        return work.result()
    if isinstance(error, AttemptFenced | RecordUnreadable):
        raise error
    if isinstance(error, TurnFailure):
        return _failed(attempt.claimed.key.run_id, error)
    logger.error("%s: the turn fails because of a bug in Turnwire", attempt.claimed.key.run_id, exc_info=error)
    return Ending(None, error=TurnError("internal", "the worker failed", retryable=True))


def _failed(run_id: str, error: TurnFailure) -> Ending:
    """Return the ending of a turn that failed in order. The log gets Turnwire's own words, but not those of a product,
    which are for its clients alone.
    """
    if type(error) is not TurnFailure and type(error).__module__.startswith("turnwire."):
        logger.warning("%s: %s: %s", run_id, type(error).__name__, error)
    # a product may have set the attributes to anything
    wait_ms = milliseconds(error.retry_after_s, 1000)
    return Ending(None, error=TurnError(storable(error.told_code), storable(error), bool(error.retryable), wait_ms))


async def settle(
    attempt: Attempt,
    store: TurnStore,
    status: TurnState,
    events: Sequence[bytes],
    fields: Mapping[str, Arg],
    step: StepRecord | None = None,
) -> Settled:
    """End the attempt and its turn, once all its events are in the log. `step` is stored by the same write.

    Raises:
        AttemptFenced: the lease was lost.
        StoreLost: the store has lost more than is kept here.
    """
    log, kept = attempt.log, attempt.kept_steps
    if step is not None:
        step = attempt.covered(step)
    while True:
        await log.flush()
        args = attempt.claimed, status, log.next_seq, events, fields, attempt.meter.row
        try:
            return await until_answered(store.settle, *args, known=kept.known, step=step)
        except (LogBehind, StepsBehind) as behind:
            await restore(attempt, store, behind)
