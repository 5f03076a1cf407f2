"""One attempt of a turn while it runs in this process: its lease, its log, its checkpoints, how it may be stopped."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from typing import Any

import msgspec

from turnwire.shared.events import RUN_SUSPENDED, encode_event
from turnwire.shared.ledger import LedgerRow, decode_row
from turnwire.shared.model import Claimed, Signal, StepRecord
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.appender import Appender
from turnwire.worker.attempt.outcome import look_ms
from turnwire.worker.attempt.side_channel import CLOSE_S, SideChannel
from turnwire.worker.attempt.standing import Standing
from turnwire.worker.hooks import ChatTurnHooks, Turn
from turnwire.worker.products import hook
from turnwire.worker.turn.calling import call
from turnwire.worker.turn.meter import Meter
from turnwire.worker.turn.prices import Prices
from turnwire.worker.turn.steps import Steps

logger = logging.getLogger(__name__)


class Stop(Enum):
    """Why an attempt is stopped from outside."""

    LOST = auto()  # another attempt owns the turn: write nothing more
    CANCEL = auto()  # somebody asked for it
    SUSPEND = auto()  # it waits for a signal, and has no lease any more
    DRAIN = auto()  # this worker stops: give the turn back


class Attempt:
    """Holds what one attempt needs. `stop` cancels its work, whoever calls it; the first reason counts."""

    def __init__(self, claimed: Claimed, store: TurnStore, appender: Appender, prices: Prices) -> None:
        self.claimed = claimed
        self.meter = Meter(prices, claimed.rows.values())
        self.rows = dict(claimed.rows)  # attempt -> ledger row, of all that have ended: whoever ends the job publishes
        self.log = appender.open(claimed, lambda: self.stop(Stop.LOST))
        self.stopped: Stop | None = None
        self._store = store
        self._work: asyncio.Task[Any] | None = None
        self._claimed_at_s = time.monotonic()
        self._channel: SideChannel | None = None
        self._trace_flush: Callable[[], Awaitable[Any]] | None = None
        self._on_row: Callable[[LedgerRow], Awaitable[Any]] | None = None
        self.steps = Steps(claimed.steps, store.settings, self._save, lambda: self.now_ms, self.wait_for_signal)
        self.suspending = False  # it may have no lease any more: a refused renewal means nothing
        self.look_ms = 0  # when somebody should look at it, once it is suspended
        self.rewinding = False  # its token is about to change: a refused renewal means nothing
        self._standing = Standing()
        self._diverged: tuple[bytes, bool] | None = None

    @property
    def now_ms(self) -> int:
        """Redis time: that of the claim plus what passed here since."""
        return self.claimed.at_ms + int((time.monotonic() - self._claimed_at_s) * 1000)

    def begin(self, work: "asyncio.Task[Any]") -> None:
        """The task that `stop` cancels."""
        self._work = work
        if self.stopped is not None:
            work.cancel()

    def stop(self, reason: Stop) -> None:
        """Cancel the work; a later reason changes nothing, but a lost lease always counts."""
        if self.stopped is None or reason is Stop.LOST:
            self.stopped = reason
        if self._work is not None:
            self._work.cancel()

    def open_side_channel(self, hooks: ChatTurnHooks, turn: Turn) -> None:
        """From here on the product sees the events, and gets its traces flushed at the end."""
        on_event, trace_flush = hook(hooks, "on_event"), hook(hooks, "trace_flush")
        on_row = hook(hooks, "on_ledger_row")
        if on_row is not None:
            self._on_row = lambda row: call(on_row, turn, row)
        if trace_flush is not None:
            self._trace_flush = lambda: call(trace_flush, turn)
        if on_event is not None:
            self._channel = SideChannel(on_event, turn)
            self._channel.show(self.claimed.first_event)

    async def load_standing(self) -> None:
        """A later attempt whose producer runs again: get the events that stand, to compare with."""
        claimed = self.claimed
        if claimed.attempt == 1:
            return
        entries = await until_answered(lambda: self._store.read_all(claimed.key))
        self._standing = Standing(entries)
        self.log.appended_bytes += sum(len(entry.event) for entry in entries)  # they count towards its limit

    def put(self, event: bytes, *, own: bool = False) -> bool:
        """Append an event, unless it stands already; True when the caller must wait for `room`."""
        if self._standing.left:
            if self._standing.matches(event):
                return False
            self._diverged = event, own
            return True
        if self._channel is not None:
            self._channel.show(event)
        self.meter.saw(event)
        return self.log.put(event, own=own)

    async def room(self) -> None:
        """Wait until the log takes more; after a divergence, first rewind it."""
        diverged, self._diverged = self._diverged, None
        if diverged is not None:
            await self.rewind()
            event, own = diverged
            self.put(event, own=own)
        await self.log.room()

    async def rewind(self) -> None:
        """If events stand that this attempt does not yield again, take them back."""
        if not self._standing.left:
            return
        await self.log.flush()
        claimed, after, used = self.claimed, self._standing.last_match, self.meter.row
        worker = claimed.token.rpartition("#")[0]
        self.rewinding = True
        try:
            self.claimed, row = await until_answered(lambda: self._store.rewind(claimed, worker, after, used))
        finally:
            self.rewinding = False
        self.meter.go_on()
        self.rows[claimed.attempt] = row
        self.log.restart(self.claimed)
        self._standing.drop_rest()

    async def wait_for_signal(self, key: str, timeout_ms: int | None) -> Signal:
        """The signal, if it is there; else the turn is suspended and this attempt ends here.

        Raises:
            AttemptFenced: the lease was lost.
        """
        await self.log.flush()
        event = encode_event(RUN_SUSPENDED, {"awaiting": key, "timeoutMs": timeout_ms})
        claimed, seq, used = self.claimed, self.log.next_seq, self.meter.row
        self.suspending = True
        stored = await until_answered(lambda: self._store.suspend(claimed, key, timeout_ms, seq, event, used))
        if isinstance(stored, Signal):
            self.suspending = False
            return stored
        self.rows[claimed.attempt] = stored
        self.show([event])
        self.look_ms = look_ms(timeout_ms, self._store.settings)
        self.log.abandon()
        self.stop(Stop.SUSPEND)
        await asyncio.Event().wait()  # until the cancellation arrives
        raise AssertionError

    def show(self, events: Sequence[bytes]) -> None:
        """Show the product events that were appended another way."""
        if self._channel is not None:
            for event in events:
                self._channel.show(event)

    async def close(self) -> None:
        """Let the side channel and the traces come to their end, for a limited time; they never fail a turn."""
        if self._channel is not None:
            await self._channel.close()
        if self._on_row is not None:
            await self._show_rows(self._on_row)
        if self._trace_flush is not None:
            try:
                async with asyncio.timeout(CLOSE_S):
                    await self._trace_flush()
            except Exception:
                logger.exception("%s: trace_flush failed", self.claimed.key.run_id)

    async def _show_rows(self, on_row: Callable[[LedgerRow], Awaitable[Any]]) -> None:
        """The rows that were written since the claim, and by it, if the attempt before this one had crashed."""
        first = max(self.claimed.rows, default=0)
        try:
            async with asyncio.timeout(CLOSE_S):
                for attempt in sorted(attempt for attempt in self.rows if attempt >= first):
                    row = decode_row(self.rows[attempt])
                    if attempt > first or row.outcome == "crashed":
                        await on_row(row)
        except Exception:
            logger.exception("%s: on_ledger_row failed", self.claimed.key.run_id)

    async def _save(self, record: StepRecord) -> None:
        """Store a checkpoint; the events that it covers are in the log before it."""
        await self.log.flush()
        used = self.meter.attempt if self.meter.attempt.model_calls else None
        covered = msgspec.structs.replace(record, cursor=str(self.log.cursor), usage=used)
        await until_answered(lambda: self._store.checkpoint(self.claimed, covered))
