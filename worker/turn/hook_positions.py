"""Positions for the steps of the hooks other than `produce`: beside those of the producer, never among them."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

ON_EVENT: Final = "on_event"


class HookPositions:
    """The positions of one call of a hook: `persist_assistant_message/0`, `persist_assistant_message/1`, …

    `on_event` is called many times, and after a crash for other events. So its steps are known by their intent:
    `on_event/<intent>`. `kept`: the steps are stored; else they are known only as long as the attempt lasts.
    """

    def __init__(self, hook: str, *, kept: bool = True) -> None:
        self.hook = hook
        self.kept = kept
        self._asked = 0

    def take(self, intent: str) -> str:
        """The position of the step that is asked for next."""
        if self.hook == ON_EVENT:
            return f"{ON_EVENT}/{intent}"
        self._asked += 1
        return f"{self.hook}/{self._asked - 1}"


_current: Final[ContextVar[HookPositions | None]] = ContextVar("turnwire_hook", default=None)


def current_hook() -> HookPositions | None:
    """The hook whose code asks; None: it is the producer's."""
    return _current.get()


@contextmanager
def in_hook(hook: str, *, kept: bool = True) -> Generator[None]:
    """Inside, and in every task and thread that is started inside, the steps that are asked for are this hook's."""
    token = _current.set(HookPositions(hook, kept=kept))
    try:
        yield
    finally:
        _current.reset(token)
