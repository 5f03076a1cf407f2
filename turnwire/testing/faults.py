"""Plants faults: at a given write, a worker dies before it, dies after it, or loses its reply.

The writes of all workers of a turn are counted together, from 1. They have the names of the methods that make them:
`claim`, `append`, `checkpoint.<intent>`, `suspend`, `rewind`, `enqueue_persist`, `settle`, `keep_step.<intent>`,
`try_to_persist`, `persisted`, `end`, `park`, `again`. Writes that change nothing of a turn are not counted, for example
the renewal of a lease.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal, TypeAlias, TypeVar

import msgspec

from turnwire.shared.errors import AttemptFenced, StoreUnavailable

CrashPoint: TypeAlias = int | str
Mode: TypeAlias = Literal["before", "after", "lost"]
T = TypeVar("T")

_NOT_COUNTED = frozenset({"take", "renew", "extend", "due", "announce", "forget", "postpone", "expire", "bury", "free"})


class Fault(msgspec.Struct, frozen=True):
    """A fault at the write with this number, or at the first write with this name."""

    at: CrashPoint
    mode: Mode


def faults_at(mode: Mode, points: CrashPoint | Sequence[CrashPoint] | None) -> list[Fault]:
    """Return a fault for each of the points that a caller named: one, several, or none."""
    if points is None:
        return []
    named = [points] if isinstance(points, int | str) else points
    return [Fault(point, mode) for point in named]


class Faults:
    """The faults that are still to strike, and the names of the writes that were reached so far."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.left = list(faults)
        self.reached: list[str] = []

    def next(self, write: str) -> Mode | None:
        """Count a write that is about to happen. Returns the fault that strikes at it."""
        if write in _NOT_COUNTED:
            return None
        self.reached.append(write)
        for fault in self.left:
            if fault.at in (write, len(self.reached)):
                self.left.remove(fault)
                return fault.mode
        return None


class WorkerLife:
    """The life of one worker. After its death no write of it happens any more."""

    def __init__(self, faults: Faults) -> None:
        self.dead = False
        self.on_death: Callable[[], None] = lambda: None
        self._faults = faults

    async def write(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do the write, unless the worker is dead or dies here.

        Raises:
            StoreUnavailable: the write happened, and its reply is lost.
            AttemptFenced: the worker is dead. If the caller was cancelled, its CancelledError comes first.
        """
        if self.dead:
            await _refuse()
        mode = self._faults.next(name)
        if mode == "before":
            await self._die()
        reply = await work()
        if mode == "after":
            await self._die()
        if mode == "lost":
            raise StoreUnavailable("the reply is lost")
        return reply

    async def _die(self) -> None:
        self.dead = True
        self.on_death()
        await _refuse()


async def _refuse() -> None:
    await asyncio.sleep(0)  # the work of a dead worker is cancelled; let the cancellation arrive first
    raise AttemptFenced("the worker has crashed")
