"""Gives positions to the steps that hooks other than `produce` ask for. They never count among the producer's."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

ON_EVENT: Final = "on_event"


class HookPositions:
    """The positions of one call of a hook: `persist_assistant_message/0`, `persist_assistant_message/1`, …

    `on_event` is called many times, and after a crash it is called for other events. So its steps are found by their
    intent: `on_event/<intent>`.

    `kept`: whether the steps are stored. Otherwise, their results are forgotten with the attempt.
    """

    def __init__(self, hook: str, *, kept: bool = True) -> None:
        self.hook = hook
        self.kept = kept
        self._asked = 0

    def take(self, intent: str) -> str:
        """Return the position of the next step, which the hook asks for with this intent."""
        if self.hook == ON_EVENT:
            return f"{ON_EVENT}/{intent}"
        self._asked += 1
        return f"{self.hook}/{self._asked - 1}"


_current: Final[ContextVar[HookPositions | None]] = ContextVar("turnwire_hook", default=None)


def current_hook() -> HookPositions | None:
    """Return the positions of the hook whose code runs now, or None if the producer's code runs."""
    return _current.get()


@contextmanager
def in_hook(hook: str, *, kept: bool = True) -> Generator[None]:
    """Let the steps that are asked for inside the block, or in a task or thread that it starts, be those of a hook."""
    token = _current.set(HookPositions(hook, kept=kept))
    try:
        yield
    finally:
        _current.reset(token)
