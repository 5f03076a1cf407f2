"""Where an attempt's steps are written: a checkpoint for each, and the suspension of a turn that waits for a signal."""

import time

import msgspec

from turnwire.shared.errors import AttemptFenced
from turnwire.shared.events import RUN_SUSPENDED, encode_event
from turnwire.shared.model import Signal, StepRecord
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.attempt import Attempt, Lease, Stop
from turnwire.worker.attempt.outcome import look_ms
from turnwire.worker.turn.steps import OWN_INTENTS


class AttemptJournal:
    """Writes for one attempt. Steps call it within the product's code, so a lost lease leaves it as a cancellation."""

    def __init__(self, attempt: Attempt, store: TurnStore) -> None:
        self._attempt = attempt
        self._store = store
        self._claimed_at_s = time.monotonic()

    def now_ms(self) -> int:
        """Redis time: the time of the claim, plus what has passed here since."""
        return self._attempt.claimed.at_ms + int((time.monotonic() - self._claimed_at_s) * 1000)

    async def save(self, record: StepRecord) -> None:
        """Store a checkpoint. The events that it covers are written to the log before it."""
        attempt = self._attempt
        try:
            await attempt.log.flush()
            used = attempt.meter.attempt if attempt.meter.attempt.model_calls else None
            covered = msgspec.structs.replace(record, cursor=str(attempt.log.cursor), usage=used)
            # Once the producer has ended, no later attempt of the turn runs it.
            history = b"" if record.intent in OWN_INTENTS else attempt.unsaved_history
            await until_answered(self._store.checkpoint, attempt.claimed, covered, history)
            if history:
                attempt.unsaved_history = b""
        except AttemptFenced:
            await attempt.leave(Stop.LOST)

    async def wait_for_signal(self, key: str, timeout_ms: int | None) -> Signal:
        """Return the signal if it is there; otherwise suspend the turn, which ends this attempt here."""
        attempt = self._attempt
        try:
            await attempt.log.flush()
            stored = await self._suspend(key, timeout_ms)
        except AttemptFenced:
            await attempt.leave(Stop.LOST)
        if stored is None:
            await attempt.leave(Stop.SUSPEND)
        return stored

    async def _suspend(self, key: str, timeout_ms: int | None) -> Signal | None:
        attempt = self._attempt
        event = encode_event(RUN_SUSPENDED, {"awaiting": key, "timeoutMs": timeout_ms})
        claimed, seq, used = attempt.claimed, attempt.log.next_seq, attempt.meter.row
        attempt.lease = Lease.CHANGING
        history = attempt.unsaved_history
        stored = await until_answered(self._store.suspend, claimed, key, timeout_ms, seq, event, used, history)
        if isinstance(stored, Signal):
            attempt.lease = Lease.HELD
            return stored
        attempt.rows[claimed.attempt] = stored.row
        attempt.shown.events([event])
        attempt.look_ms = look_ms(timeout_ms, self._store.settings)
        attempt.log.abandon()
        return None
