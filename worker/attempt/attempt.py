"""One attempt of a turn while it runs in this process: its lease, its log, and how it is stopped."""

import asyncio
from enum import Enum, auto
from typing import Any, NoReturn

from turnwire.shared.errors import StoreLost
from turnwire.shared.model import Claimed
from turnwire.worker.attempt.appender import Appender
from turnwire.worker.attempt.kept_steps import KeptSteps
from turnwire.worker.attempt.shown import Shown
from turnwire.worker.turn.meter import Meter
from turnwire.worker.turn.prices import Prices


class Stop(Enum):
    """The reasons for which an attempt is stopped."""

    LOST = auto()  # another attempt owns the turn: nothing more may be written
    CANCEL = auto()  # somebody asked for it
    SUSPEND = auto()  # it waits for a signal, and has given up its lease
    DRAIN = auto()  # this worker stops: the turn goes back to the queue
    STORE_LOST = auto()  # the store has lost more of it than is kept here: the turn goes back to the queue


_LOSSES = (Stop.LOST, Stop.STORE_LOST)


class Lease(Enum):
    """Tells what it means if a renewal of the lease is refused."""

    HELD = auto()  # the lease is lost: another attempt has it
    CHANGING = auto()  # nothing: a script of ours is giving up the lease, or is changing its token


class Attempt:
    """Holds what belongs to one attempt. `rows`: attempt -> ledger row, for all attempts that have ended."""

    def __init__(self, claimed: Claimed, appender: Appender, prices: Prices) -> None:
        self.claimed = claimed
        self.meter = Meter(prices, claimed.rows.values())
        self.rows = dict(claimed.rows)
        self.shown = Shown(claimed)
        self.log = appender.open(claimed, self._on_lost)
        self.unsaved_history: bytes = b""  # the messages that later attempts must see as well; '' once they are stored
        self.kept_steps = KeptSteps(claimed)
        self.lease = Lease.HELD
        self.look_ms = 0  # how soon the sweep should look at the turn, once it is suspended
        self.stopped: Stop | None = None
        # True once the producer has ended: from then on, a cancel comes too late.
        self.answered = any(step.is_answer for step in claimed.steps.values())
        self._work: asyncio.Task[Any] | None = None

    def begin(self, work: "asyncio.Task[Any]") -> None:
        """Set the task that `stop` cancels."""
        self._work = work
        if self.stopped is not None:
            work.cancel()

    def _on_lost(self, error: Exception) -> None:
        self.stop(Stop.STORE_LOST if isinstance(error, StoreLost) else Stop.LOST)

    def stop(self, reason: Stop) -> None:
        """Cancel the work. The first reason counts, except that a loss always counts."""
        if reason is Stop.CANCEL and self.answered:
            return
        if self.stopped is None or (reason in _LOSSES and self.stopped not in _LOSSES):
            self.stopped = reason
        if self._work is not None:
            self._work.cancel()

    async def leave(self, reason: Stop) -> NoReturn:
        """Stop the attempt from within its work, for example from a step. The calling task gets a CancelledError.

        The product's code called us, and it may catch every `Exception`. After that, it would call a model again, and
        pay for an answer that this attempt can no longer write. It cannot catch a cancellation that way.
        """
        self.stop(reason)
        task = asyncio.current_task()
        if task is not None and task is not self._work:  # a task that the product itself has started
            task.cancel()
        await asyncio.Event().wait()
        raise AssertionError("a cancelled task was not cancelled")
