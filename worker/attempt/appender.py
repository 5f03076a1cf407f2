"""Appends the events of all turns of a process.

One task writes for every turn. While one round trip is under way, the events of all turns gather; the next one takes
them all, as a pipeline with one script call per turn. So a single event leaves at once, and under load a round trip
carries hundreds of events. While several turns write, there is a short pause between round trips, in which more events
gather. The first event of an attempt does not wait for that, and neither does `flush`. A turn's buffer is bounded, so a
slow Redis slows down the producers and does not fill the memory.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from turnwire.shared.errors import AttemptFenced, AttemptStopped, StoreLost, StoreUnavailable, TurnFailure
from turnwire.shared.events import Cursor
from turnwire.shared.metrics import counter, histogram
from turnwire.shared.model import Claimed
from turnwire.shared.store.patience import FIRST_PAUSE_S, LONGEST_PAUSE_S
from turnwire.shared.store.scripts import LogBehind
from turnwire.shared.store.turns import TurnStore

logger = logging.getLogger(__name__)

KEPT_BYTES: Final = 65_536  # of a turn's acknowledged events, in case the store loses them
BUFFER_BYTES: Final = 262_144  # a producer waits while so much of its turn is not written
CALL_EVENTS: Final = 500  # one call of the append script carries at most so many events,
CALL_BYTES: Final = 262_144  # and at most so many bytes, unless a single event is larger
GATHER_S: Final = 0.003  # the pause between two round trips while several turns write; fewer trips cost less

_APPENDS: Final = histogram("turnwire_append_seconds")
_EVENTS: Final = counter("turnwire_events_appended_total")
_RESTORED: Final = counter("turnwire_events_restored_total")


class TurnLog:
    """The writing end of one attempt's log. `put` never waits, `room` and `flush` do."""

    def __init__(self, appender: "Appender", claimed: Claimed, on_lost: Callable[[Exception], None]) -> None:
        self.claimed = claimed
        self._appender = appender
        self._on_lost = on_lost
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        settings = appender.settings_of(claimed.key.session.tenant)
        self._max_events, self._max_bytes = settings.max_log_events, settings.max_log_bytes
        self._kept: deque[bytes] = deque()  # the last acknowledged events of this attempt
        self._kept_bytes = 0
        self._written_seq = claimed.next_seq  # the seq of the first event that is not acknowledged
        self._error: Exception | None = None  # nothing more is written
        self._refusal: Exception | None = None  # nothing more is taken
        self._changed = asyncio.Event()
        self.appended_bytes = 0
        self.waits_since_s = 0.0  # since when the oldest event waits that is not acknowledged

    @property
    def next_seq(self) -> int:
        """The seq of the next event."""
        return self._written_seq + len(self._pending)

    @property
    def cursor(self) -> Cursor:
        """The last event that was put."""
        return Cursor(self.claimed.attempt, self.next_seq - 1)

    def put(self, event: bytes, *, own: bool = False) -> bool:
        """Queue an event to be written. Returns True when the caller should wait for `room` before the next one.

        Args:
            event: its canonical bytes.
            own: Turnwire adds this event to an answer that is complete and paid for. A log that has reached its limits
                takes it nevertheless.

        Raises:
            AttemptFenced: the lease was lost. Nothing more will be written.
            AttemptStopped: the log was closed.
            TurnFailure: `log_too_large`: the log has reached one of its limits.
        """
        if self._refusal is not None:
            raise self._refusal
        pending, size = self._pending, len(event)
        full = self._written_seq + len(pending) >= self._max_events or self.appended_bytes + size > self._max_bytes
        if full and (not own or size > self._max_bytes):
            raise TurnFailure("the turn has more events than one turn may have", code="log_too_large")
        if not pending:
            self.waits_since_s = time.monotonic()
            self._appender.wake(self, at_once=self._written_seq == self.claimed.next_seq)
        pending.append(event)
        self._pending_bytes += size
        self.appended_bytes += size
        return self._pending_bytes > BUFFER_BYTES

    async def room(self) -> None:
        """Wait until the buffer is below its bound."""
        while self._pending_bytes > BUFFER_BYTES and self._error is None:
            await self._change()

    async def flush(self) -> None:
        """Wait until every event that was put is in Redis.

        Raises:
            AttemptFenced: the lease was lost.
        """
        while self._pending and self._error is None:
            self._appender.hurry.set()
            await self._change()
        if self._error is not None:
            raise self._error

    def restart(self, claimed: Claimed) -> None:
        """Write for the next attempt, which the same worker runs. Every event must have been flushed before."""
        assert not self._pending
        self.claimed = claimed
        self._kept.clear()
        self._kept_bytes = 0
        self._written_seq = claimed.next_seq

    def close(self) -> None:
        """Take no more events. Those that were put before are still written."""
        if self._refusal is None:
            self._refusal = AttemptStopped("the attempt is being stopped")

    def abandon(self) -> None:
        """Drop the events that are not written, because nobody waits for them any more."""
        self._pending, self._pending_bytes = [], 0
        if self._error is None:
            self._error = self._refusal = AttemptFenced("the attempt has ended")

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def next_call(self) -> list[bytes]:
        """Return the events of the next call: the oldest ones, as many as one call may carry."""
        size = 0
        for count, event in enumerate(self._pending[:CALL_EVENTS]):
            size += len(event)
            if size > CALL_BYTES and count:
                return self._pending[:count]
        return self._pending[:CALL_EVENTS]

    @property
    def written_seq(self) -> int:
        """The seq at which the next call starts."""
        return self._written_seq

    def answered(self, events: Sequence[bytes], error: Exception | None) -> None:
        """Note the result of a call: the events that it carried, and its error or None."""
        if error is None and self._pending:
            size = sum(map(len, events))
            del self._pending[: len(events)]
            self._pending_bytes -= size
            self._written_seq += len(events)
            self._kept.extend(events)
            self._kept_bytes += size
            while self._kept_bytes > KEPT_BYTES:
                self._kept_bytes -= len(self._kept.popleft())
        elif isinstance(error, LogBehind):
            self.restore(error)
        elif error is not None and not isinstance(error, StoreUnavailable):
            self._fail(error)
        self._changed.set()
        if self._pending:
            self._appender.wake(self)

    def restore(self, behind: LogBehind) -> None:
        """Queue the events again that the store has lost, with the ids that they had."""
        count = self._written_seq - behind.next_seq
        if count <= 0 or self._error is not None:  # they are queued already
            return
        run_id = self.claimed.key.run_id
        extra = {"run_id": run_id, "attempt": self.claimed.attempt}  # this is not the task of the attempt
        if count > len(self._kept):
            logger.warning("%s: the store has lost %d events, more than are kept here", run_id, count, extra=extra)
            self._fail(StoreLost("the store has lost the last events of this attempt"))
            return
        logger.warning("%s: the store has lost %d events; they are written again", run_id, count, extra=extra)
        _RESTORED.add(amount=count)
        lost = [self._kept.pop() for _ in range(count)][::-1]
        if not self._pending:
            self._appender.wake(self, at_once=True)
        self._pending[:0] = lost
        size = sum(map(len, lost))
        self._pending_bytes += size
        self._kept_bytes -= size
        self._written_seq = behind.next_seq

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = self._refusal = error
            self._pending, self._pending_bytes = [], 0
            self._on_lost(error)
            self._changed.set()


class Appender:
    """Writes the events of every turn of this process. `run` it for as long as the process lives."""

    def __init__(self, store: TurnStore) -> None:
        self._store = store
        self.settings_of = store.settings_of
        self._dirty: list[TurnLog] = []
        self._wake = asyncio.Event()
        self.hurry = asyncio.Event()  # an event must be written now, and must not wait for others

    def open(self, claimed: Claimed, on_lost: Callable[[Exception], None]) -> TurnLog:
        """Return the log of an attempt. `on_lost` is called once if Redis refuses a write to it."""
        return TurnLog(self, claimed, on_lost)

    def wake(self, log: TurnLog, *, at_once: bool = False) -> None:
        """Let the task write what this log has queued."""
        self._dirty.append(log)
        self._wake.set()
        if at_once:
            self.hurry.set()

    async def run(self) -> None:
        """Write until cancelled. While Redis does not answer, the same events are sent again, with the same ids."""
        pause_s, next_at_s = FIRST_PAUSE_S, 0.0
        while True:
            await self._wake.wait()
            await self._gather(next_at_s)
            self._wake.clear()
            self.hurry.clear()
            logs, self._dirty = self._dirty, []
            calls = [(log, log.written_seq, log.next_call()) for log in logs]
            calls = [call for call in calls if call[2]]
            next_at_s = asyncio.get_running_loop().time() + GATHER_S if len(calls) > 1 else 0.0
            sent_s = time.monotonic()
            try:
                results = await self._store.append_many([(log.claimed, seq, events) for log, seq, events in calls])
            except Exception:  # a defect of ours: the task is started again, and writes these events with the same ids
                self._dirty += logs
                self._wake.set()
                raise
            answered_s, appended = time.monotonic(), 0
            for (log, _, events), error in zip(calls, results, strict=True):
                if error is None:
                    appended += len(events)
                    _APPENDS.observe(answered_s - log.waits_since_s)
                    log.waits_since_s = sent_s  # what still waits came while this call was under way
                log.answered(events, error)
            _EVENTS.add(amount=appended)
            if any(isinstance(error, StoreUnavailable) for error in results):
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            else:
                pause_s = FIRST_PAUSE_S

    async def _gather(self, until_s: float) -> None:
        if asyncio.get_running_loop().time() < until_s:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until_s):
                    await self.hurry.wait()
