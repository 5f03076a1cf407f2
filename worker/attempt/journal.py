"""Writes the steps of an attempt: a checkpoint for each, and the suspension of a turn that waits for a signal."""

import time

import msgspec

from turnwire.shared.errors import AttemptFenced, TurnEnded
from turnwire.shared.events import RUN_SUSPENDED, encode_event
from turnwire.shared.keys import TurnKey
from turnwire.shared.model import Signal, StepRecord, TurnRecord
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.scripts import LogBehind, StepsBehind
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.attempt import Attempt, Lease, Stop
from turnwire.worker.attempt.outcome import look_ms
from turnwire.worker.attempt.restore import restore
from turnwire.worker.turn.hook_positions import ON_EVENT
from turnwire.worker.turn.same_step import OWN_INTENTS


class AttemptJournal:
    """Writes for one attempt. Steps call it within the product's code, so it reports a lost lease as a cancellation."""

    def __init__(self, attempt: Attempt, store: TurnStore) -> None:
        self._attempt = attempt
        self._store = store
        self._claimed_at_s = time.monotonic()

    def now_ms(self) -> int:
        """Return Redis time in ms: the time of the claim, plus the time that has passed in this process since."""
        return self._attempt.claimed.at_ms + int((time.monotonic() - self._claimed_at_s) * 1000)

    async def save(self, record: StepRecord) -> None:
        """Store a checkpoint. The events that it covers are written to the log before it."""
        if isinstance(record.index, str):
            await self._save_of_hook(record)
            return
        attempt = self._attempt
        if attempt.given_up:
            await attempt.leave_if_stopped()
        try:
            await attempt.log.flush()
            covered = attempt.covered(record)
            # Once the producer has ended, no later attempt of the turn runs it.
            history = b"" if record.intent in OWN_INTENTS else attempt.unsaved_history
            await self._write(covered, history, next_seq=attempt.log.next_seq)
            if history:
                attempt.unsaved_history = b""
        except AttemptFenced:
            await attempt.leave(Stop.LOST)

    async def _save_of_hook(self, record: StepRecord) -> None:
        """Store a step of another hook than `produce`, which covers no events. `on_event` may ask after the turn's end.

        Raises:
            AttemptFenced: `on_event` asked when the attempt was over, but the turn was not.
        """
        attempt = self._attempt
        used = attempt.meter.attempt if attempt.meter.attempt.model_calls else None
        try:
            await self._write(msgspec.structs.replace(record, usage=used))
        except AttemptFenced:
            if not str(record.index).startswith(f"{ON_EVENT}/"):
                await attempt.leave(Stop.LOST)
            await until_answered(self._store.keep_step, attempt.claimed.key, attempt.claimed.attempt, record)

    async def _write(self, record: StepRecord, history: bytes = b"", *, next_seq: int = 0) -> None:
        """Write a checkpoint; first, what the store has lost is written again."""
        attempt, kept = self._attempt, self._attempt.kept_steps
        number = kept.next_number()
        while True:
            places = {"next_seq": next_seq, "number": number, "known": kept.known}
            try:
                await until_answered(self._store.checkpoint, attempt.claimed, record, history, **places)
            except (LogBehind, StepsBehind) as behind:
                await restore(attempt, self._store, behind)
            else:
                kept.add(number, record, history)
                return

    async def wait_for_signal(self, key: str, timeout_ms: int | None) -> Signal:
        """Return the signal if it is there. Otherwise suspend the turn, which cancels the caller."""
        attempt = self._attempt
        await attempt.leave_if_stopped()
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
        claimed, used, known = attempt.claimed, attempt.meter.row, attempt.kept_steps.known
        attempt.lease = Lease.CHANGING
        history = attempt.unsaved_history
        while True:
            until = key, timeout_ms, attempt.log.next_seq, event, used, history
            try:
                stored = await until_answered(self._store.suspend, claimed, *until, known=known)
                break
            except (LogBehind, StepsBehind) as behind:
                await restore(attempt, self._store, behind)
        if isinstance(stored, Signal):
            attempt.lease = Lease.HELD
            attempt.trace.span.event("signal", {"turnwire.signal": key, "turnwire.timed_out": stored.timed_out})
            return stored
        attempt.trace.span.event("suspended", {"turnwire.signal": key})
        attempt.rows[claimed.attempt] = stored.row
        attempt.shown.events([event])
        attempt.look_ms = look_ms(timeout_ms, self._store.settings)
        attempt.log.abandon()
        return None


class EndedJournal:
    """Writes for a turn that has ended: the steps of the hooks that the outbox calls."""

    def __init__(self, store: TurnStore, key: TurnKey, record: TurnRecord) -> None:
        self._store = store
        self._key = key
        self._record = record
        self._since_s = time.monotonic()

    def now_ms(self) -> int:
        """Return about Redis time in ms: the time of the turn's last write, plus the time that has passed since."""
        return self._record.updated_at + int((time.monotonic() - self._since_s) * 1000)

    async def save(self, record: StepRecord) -> None:
        """Store a checkpoint.

        Raises:
            AttemptFenced: the turn was asked again.
        """
        await until_answered(self._store.keep_step, self._key, self._record.attempt, record)

    async def wait_for_signal(self, key: str, timeout_ms: int | None) -> Signal:  # noqa: ARG002 - as a Journal
        """Refuse the wait. `Steps` refuses it before, so this is never reached."""
        raise TurnEnded(f"the turn has ended, so it cannot wait for signal {key!r}")
