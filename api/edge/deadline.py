"""How long a connection may take for the part of a request that it is sending. One timer, and only while it is due."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto


class Phase(Enum):
    """What comes next on a connection."""

    IDLE = auto()  # nothing has to come
    HEAD = auto()
    BODY = auto()


class Deadline:
    """Calls `on_late` once, `delay_s` seconds after `start`. `progress`: bytes of a body since then; others count."""

    __slots__ = ("_loop", "_on_late", "_timer", "delay_s", "phase", "progress")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_late: Callable[[], None]) -> None:
        self._loop = loop
        self._on_late = on_late
        self._timer: asyncio.TimerHandle | None = None
        self.phase = Phase.IDLE
        self.delay_s = 0.0
        self.progress = 0

    def start(self, phase: Phase, delay_s: float) -> None:
        """Let the time of this phase begin now. There is none for an idle connection."""
        self.stop()
        self.phase, self.delay_s, self.progress = phase, delay_s, 0
        if phase is not Phase.IDLE:
            self._timer = self._loop.call_later(delay_s, self._on_late)

    def stop(self) -> None:
        """There is no time limit any more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self.phase = Phase.IDLE
