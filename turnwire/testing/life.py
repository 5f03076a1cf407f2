"""The life of one worker: every write of its store and queue goes through here, where a crash may be planted."""

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from turnwire.shared.model import StepRecord

P = ParamSpec("P")
T = TypeVar("T")


class Life(Protocol):
    """Decides whether a write happens."""

    async def write(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do the write of this name."""


class Unharmed:
    """The life of somebody who never dies: every write happens."""

    async def write(self, name: str, work: Callable[[], Awaitable[T]]) -> T:  # noqa: ARG002 - as the protocol has it
        """Do it."""
        return await work()


class Living(Protocol):
    """What has a life."""

    life: Life


L = TypeVar("L", bound=Living)


def write(method: Callable[Concatenate[L, P], Awaitable[T]]) -> Callable[Concatenate[L, P], Coroutine[Any, Any, T]]:
    """A decorator for methods that write. A checkpoint's name has its intent: `checkpoint.search`."""

    @functools.wraps(method)
    async def guarded(self: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        name = method.__name__
        for arg in args:
            if isinstance(arg, StepRecord):
                name = f"{name}.{arg.intent}"
        return await self.life.write(name, functools.partial(method, self, *args, **kwargs))

    return guarded
