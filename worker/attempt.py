"""One attempt of a turn while it runs in this process: its lease, its log, its checkpoints, how it may be stopped."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from typing import Any

import msgspec

from shared.model import Claimed, StepRecord, Usage
from shared.patience import until_answered
from shared.store import TurnStore
from worker.appender import Appender
from worker.hooks import ChatTurnHooks, Turn
from worker.products import call, hook
from worker.side_channel import CLOSE_S, SideChannel

log = logging.getLogger(__name__)


class Stop(Enum):
    """Why an attempt is stopped from outside."""

    LOST = auto()  # another attempt owns the turn: write nothing more
    CANCEL = auto()  # somebody asked for it
    DRAIN = auto()  # this worker stops: give the turn back


class Attempt:
    """Holds what one attempt needs. `stop` cancels its work, whoever calls it; the first reason counts."""

    def __init__(self, claimed: Claimed, store: TurnStore, appender: Appender) -> None:
        self.claimed = claimed
        self.usage = Usage()
        self.log = appender.open(claimed, lambda: self.stop(Stop.LOST))
        self.stopped: Stop | None = None
        self._store = store
        self._work: asyncio.Task[Any] | None = None
        self._claimed_at_s = time.monotonic()
        self._channel: SideChannel | None = None
        self._trace_flush: Callable[[], Awaitable[Any]] | None = None
        self._next_position = max(claimed.steps, default=-1) + 1

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
        if trace_flush is not None:
            self._trace_flush = lambda: call(trace_flush, turn)
        if on_event is not None:
            self._channel = SideChannel(on_event, turn)
            self._channel.show(self.claimed.first_event)

    def put(self, event: bytes) -> bool:
        """Append an event; True when the caller should wait for `room`."""
        if self._channel is not None:
            self._channel.show(event)
        return self.log.put(event)

    async def room(self) -> None:
        """Wait until the log takes more."""
        await self.log.room()

    def show(self, events: Sequence[bytes]) -> None:
        """Show the product events that were appended another way."""
        if self._channel is not None:
            for event in events:
                self._channel.show(event)

    async def close(self) -> None:
        """Let the side channel and the traces come to their end, for a limited time; they never fail a turn."""
        if self._channel is not None:
            await self._channel.close()
        if self._trace_flush is not None:
            try:
                async with asyncio.timeout(CLOSE_S):
                    await self._trace_flush()
            except Exception:
                log.exception("%s: trace_flush failed", self.claimed.key.run_id)

    def completed(self, intent: str) -> StepRecord | None:
        """The checkpoint that an attempt before this one made of a step, if it completed."""
        for record in self.claimed.steps.values():
            if record.intent == intent and record.status == "completed":
                return record
        return None

    async def run(self, intent: str, work: Callable[[], Awaitable[Any]], kind: str = "logic") -> Any:
        """The step's stored result, or `work`'s, stored: its events first, then its result.

        Raises:
            AttemptFenced: the lease was lost; nothing was stored.
        """
        done = self.completed(intent)
        if done is not None:
            self.usage.restore(done.usage)
            return msgspec.json.decode(done.result)
        started_at = self.now_ms
        result = await work()
        await self.log.flush()
        position, self._next_position = self._next_position, self._next_position + 1
        record = StepRecord(
            status="completed",
            cursor=str(self.log.cursor),
            index=position,
            intent=intent,
            kind=kind,
            result=msgspec.Raw(msgspec.json.encode(result)),
            usage=self.usage if self.usage.model_calls else None,
            started_at=started_at,
            completed_at=self.now_ms,
        )
        await until_answered(lambda: self._store.checkpoint(self.claimed, record))
        return result
