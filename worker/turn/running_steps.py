"""Knows how many steps of an attempt are running, and whether the current code is the work of one of them."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from turnwire.shared.tracing import NO_SPAN, Span
from turnwire.worker.turn.step_errors import NestedStepError

_in_step: Final[ContextVar[bool]] = ContextVar("turnwire_in_step", default=False)  # inherited by tasks and threads


class RunningSteps:
    """Counts the running steps. A step runs from its beginning until its checkpoint is stored."""

    def __init__(self) -> None:
        self._count = 0
        self._ended = asyncio.Event()

    @contextmanager
    def inside(self) -> Generator[None]:
        """Count a step as running inside the block, whose code is the step's work."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self, span: Span = NO_SPAN) -> None:
        """Note that a step begins, or continues: from now on, the current code is its work, and a part of its span."""
        span.enter()
        self._count += 1
        _in_step.set(True)

    def leave(self, span: Span = NO_SPAN) -> None:
        """Note that the producer's code runs again: the step has ended, or it is a stream that yields an event."""
        span.leave()
        self._count -= 1
        _in_step.set(False)
        self._ended.set()

    async def none_left(self) -> None:
        """Wait until no step runs. Steps that begin meanwhile are waited for, too."""
        while self._count:
            self._ended.clear()
            await self._ended.wait()

    @staticmethod
    def refuse_nested(intent: str) -> None:
        """Raise NestedStepError if the work of a step asks for the step `intent`."""
        if _in_step.get():
            raise NestedStepError(f"step {intent!r} was asked for inside another step; ask for it beside or after it")
