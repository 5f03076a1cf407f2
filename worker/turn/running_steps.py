"""Which steps of an attempt run now, and whether the current code is the work of one."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from turnwire.worker.turn.step_errors import NestedStepError

_in_step: Final[ContextVar[bool]] = ContextVar("turnwire_in_step", default=False)  # tasks and threads of the work too


class RunningSteps:
    """Counts the steps that have begun and have not ended: those whose checkpoint is not stored yet."""

    def __init__(self) -> None:
        self._count = 0
        self._ended = asyncio.Event()

    @contextmanager
    def inside(self) -> Generator[None]:
        """A step runs."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """From here on, the current code is a step's work."""
        self._count += 1
        _in_step.set(True)

    def leave(self) -> None:
        """The current code is the producer's again: the step has ended, or it is a stream that has yielded an event."""
        self._count -= 1
        _in_step.set(False)
        self._ended.set()

    async def none_left(self) -> None:
        """Wait until no step runs, also none that began meanwhile."""
        while self._count:
            self._ended.clear()
            await self._ended.wait()

    @staticmethod
    def refuse_nested(intent: str) -> None:
        """Raises NestedStepError if a step's work asks for another step."""
        if _in_step.get():
            raise NestedStepError(f"step {intent!r} is asked for inside another step: ask for it beside or after it")
