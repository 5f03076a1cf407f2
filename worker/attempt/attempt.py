"""One attempt of a turn while it runs in this process: its lease, its log, and how it is stopped."""

import asyncio
from enum import Enum, auto
from typing import Any, Final, NoReturn

import msgspec

from turnwire.shared.errors import StoreLost
from turnwire.shared.model import Claimed, StepRecord
from turnwire.worker.attempt.appender import Appender
from turnwire.worker.attempt.kept_steps import KeptSteps
from turnwire.worker.attempt.shown import Shown
from turnwire.worker.attempt.traced import AttemptTrace
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.turn.accumulator import TextAccumulator
from turnwire.worker.turn.given_up import given_up
from turnwire.worker.turn.meter import Meter
from turnwire.worker.turn.prices import Prices
from turnwire.worker.turn.turn import Turn

CANCEL_PAUSES_S: Final = (1.0, 1.0, 2.0)  # after each cancellation of the work; at their end it is given up


class Stop(Enum):
    """The reasons for which an attempt is stopped."""

    LOST = auto()  # another attempt owns the turn: nothing more may be written
    CANCEL = auto()  # somebody asked for it
    LIMIT = auto()  # the turn has taken longer than it may
    SUSPEND = auto()  # it waits for a signal, and has given up its lease
    DRAIN = auto()  # this worker stops: the turn goes back to the queue
    STORE_LOST = auto()  # the store has lost more of it than is kept here: the turn goes back to the queue


_LOSSES: Final = (Stop.LOST, Stop.STORE_LOST)
_MOVES: Final = (*_LOSSES, Stop.DRAIN)  # another attempt goes on with the turn at once


class Lease(Enum):
    """Tells what it means if a renewal of the lease is refused."""

    HELD = auto()  # the lease is lost: another attempt has it
    CHANGING = auto()  # nothing: a script of ours is giving up the lease, or is changing its token


class Attempt:
    """Holds what belongs to one attempt. `rows`: attempt -> ledger row, for all attempts that have ended.

    A product may swallow a cancellation. So the work is cancelled several times, and at last given up: then its task
    still runs, but nobody waits for it, and it can write nothing to the turn any more.
    """

    def __init__(self, claimed: Claimed, appender: Appender, prices: Prices) -> None:
        self.claimed = claimed
        self.meter = Meter(prices, claimed.rows.values())
        self.rows = dict(claimed.rows)
        self.shown = Shown(claimed)
        self.trace = AttemptTrace(claimed)
        self.product: tuple[ChatTurnHooks, Turn] | None = None  # once the work has found them
        self.text = TextAccumulator()  # what the producer has said
        self.log = appender.open(claimed, self._on_lost)
        self.unsaved_history: bytes = b""  # the messages that later attempts must see as well; '' once they are stored
        self.kept_steps = KeptSteps(claimed)
        self.lease = Lease.HELD
        self.look_ms = 0  # how soon the sweep should look at the turn, once it is suspended
        self.stopped: Stop | None = None
        # True once the producer has ended: from then on, a cancel and the time limit come too late.
        self.answered = any(step.is_answer for step in claimed.steps.values())
        self.given_up = False
        self._work: asyncio.Task[Any] | None = None
        self._over = asyncio.Event()  # the work has ended, or was given up
        self._timers: list[asyncio.TimerHandle] = []

    async def end_of(self, work: "asyncio.Task[Any]") -> None:
        """Wait until the work has ended by itself, was stopped, or was given up."""
        self._work = work
        work.add_done_callback(self._ended)
        if self.stopped is not None:
            self._cancel()
        await self._over.wait()
        for timer in self._timers:
            timer.cancel()

    def limit(self, left_s: float) -> None:
        """Stop the work in so many seconds, unless the answer is complete by then."""
        if left_s > 0:
            self._timers.append(asyncio.get_running_loop().call_later(left_s, self.stop, Stop.LIMIT))
        else:
            self.stop(Stop.LIMIT)

    def covered(self, step: StepRecord) -> StepRecord:
        """Return the record with all that the attempt has said and used so far."""
        used = self.meter.attempt if self.meter.attempt.model_calls else None
        return msgspec.structs.replace(step, cursor=str(self.log.cursor), usage=used)

    def moves(self) -> bool:
        """Return whether this attempt was stopped because another one goes on with the turn."""
        return self.stopped in _MOVES

    def _on_lost(self, error: Exception) -> None:
        self.stop(Stop.STORE_LOST if isinstance(error, StoreLost) else Stop.LOST)

    def stop(self, reason: Stop) -> None:
        """Cancel the work. The first reason counts, except that a loss always counts."""
        if reason in (Stop.CANCEL, Stop.LIMIT) and self.answered:
            return
        first = self.stopped is None
        if first or (reason in _LOSSES and self.stopped not in _LOSSES):
            self.stopped = reason
        self.log.close()
        if first and self._work is not None:
            self._cancel()

    def _cancel(self, times: int = 0) -> None:
        assert self._work is not None
        if self._work.done():
            return
        if times == len(CANCEL_PAUSES_S):
            self.given_up = True
            given_up.add_task(self._work)
            self._over.set()
            return
        self._work.cancel()
        again = asyncio.get_running_loop().call_later(CANCEL_PAUSES_S[times], self._cancel, times + 1)
        self._timers.append(again)

    def _ended(self, work: "asyncio.Task[Any]") -> None:
        if not work.cancelled():
            work.exception()  # asyncio would report an exception that nobody has looked at
        self._over.set()

    async def leave_if_stopped(self) -> None:
        """Let a task that has swallowed a cancellation not go on."""
        if self.stopped is not None:
            await self.leave(self.stopped)

    async def leave(self, reason: Stop) -> NoReturn:
        """Stop the attempt from within its work, for example from a step. The calling task gets a CancelledError.

        The product's code called us, and it may catch every `Exception`. After that, it would call a model again, and
        pay for an answer that this attempt can no longer write. It cannot catch a cancellation that way.
        """
        self.stop(reason)
        task = asyncio.current_task()
        if task is not None:  # the work, again if it has swallowed a cancellation; or a task that the product started
            task.cancel()
        await asyncio.Event().wait()
        raise AssertionError("a cancelled task was not cancelled")
