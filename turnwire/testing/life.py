"""The life of one worker. Every write of its store and queue goes through here, so that a crash may be planted."""

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from turnwire.shared.model import StepRecord

P = ParamSpec("P")
T = TypeVar("T")


class Life(Protocol):
    """Decides whether a write happens."""

    async def write(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do the write with this name, or let the worker die."""


class Unharmed:
    """The life of a worker or a client that never dies. Every write happens."""

    async def write(self, name: str, work: Callable[[], Awaitable[T]]) -> T:  # noqa: ARG002 - as the protocol has it
        """Do the write."""
        return await work()


class Living(Protocol):
    """A store or a queue whose writes go through a life."""

    life: Life


L = TypeVar("L", bound=Living)


def write(method: Callable[Concatenate[L, P], Awaitable[T]]) -> Callable[Concatenate[L, P], Coroutine[Any, Any, T]]:
    """Decorate a method that writes. The name of a checkpoint contains the step's intent: `checkpoint.search`."""

    @functools.wraps(method)
    async def guarded(self: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        name = method.__name__
        for arg in args:
            if isinstance(arg, StepRecord):
                name = f"{name}.{arg.intent}"
        return await self.life.write(name, functools.partial(method, self, *args, **kwargs))

    return guarded
