"""Limits the time that a client may take to send a part of a request. There is a timer only while a part is due."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto


class Phase(Enum):
    """The part of a request that has to come next on a connection."""

    IDLE = auto()  # none
    HEAD = auto()
    BODY = auto()


class Deadline:
    """Calls `on_late` once, `delay_s` seconds after `start`. Its user counts the bytes of a body in `progress`."""

    __slots__ = ("_loop", "_on_late", "_timer", "delay_s", "phase", "progress")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_late: Callable[[], None]) -> None:
        self._loop = loop
        self._on_late = on_late
        self._timer: asyncio.TimerHandle | None = None
        self.phase = Phase.IDLE
        self.delay_s = 0.0
        self.progress = 0

    def start(self, phase: Phase, delay_s: float) -> None:
        """Begin to count the time of this phase. An idle connection has no limit."""
        self.stop()
        self.phase, self.delay_s, self.progress = phase, delay_s, 0
        if phase is not Phase.IDLE:
            self._timer = self._loop.call_later(delay_s, self._on_late)

    def stop(self) -> None:
        """Lift the time limit."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self.phase = Phase.IDLE
