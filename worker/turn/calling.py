"""Calls a product's code, whichever way it is written, and keeps what it raises inside its turn.

Rule 1: every call of a product's code goes through `call`, or stands inside `contained`.
Rule 2: whatever it raises reaches us as an ordinary Exception. SystemExit, KeyboardInterrupt and StopIteration would
end the event loop or be lost in a future; a CancelledError that nobody asked for would look like a stop of ours.
"""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final

from turnwire.worker.turn.threads import Raised, product_threads

_END: Final = object()
_in_product: ContextVar[bool] = ContextVar("turnwire_in_product", default=False)


class ProductExitError(Exception):
    """A product's code tried to end more than its own turn, for example with SystemExit."""


@contextmanager
def contained() -> Generator[None]:
    """Inside, a product's code is awaited. What it raises comes out as an Exception.

    A cancellation of the current task passes, and so does GeneratorExit.

    Raises:
        ProductExitError: instead of SystemExit, KeyboardInterrupt, a CancelledError that nobody asked for, or another
            exception that is not an Exception.
    """
    try:
        yield
    except (Exception, GeneratorExit):
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ProductExitError("the product's code cancelled itself") from error
    except BaseException as error:
        raise _exit_of(error) from error


async def call(function: Callable[..., Any], *args: Any) -> Any:
    """Call a coroutine function here, and a plain one in a thread, so that it cannot hold up other turns.

    Raises:
        ProductExitError: see `contained`.
        Exception: whatever the function raises.
    """
    with contained():
        if inspect.iscoroutinefunction(function):
            return await function(*args)
        result = await in_thread(function, *args)
        return await result if inspect.isawaitable(result) else result


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call a plain function in a thread.

    Raises:
        ProductExitError: instead of an exception that asyncio does not carry; StopIteration is one of them.
        Exception: whatever the function raises.
    """
    try:
        return await product_threads.run(function, *args)
    except Raised as raised:
        error = raised.error
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        raise error
    raise _exit_of(error) from error


async def source_of(function: Callable[..., Any], *args: Any) -> Any:
    """What a function returns that makes events; an async generator function is not begun by being called."""
    if inspect.isasyncgenfunction(function):
        return function(*args)
    return await call(function, *args)


async def iterated(generator: Generator[Any, Any, Any]) -> AsyncGenerator[Any]:
    """The items of a plain generator, each of them made in a thread."""
    try:
        while (item := await in_thread(next, generator, _END)) is not _END:
            yield item
    finally:
        with suppress(ValueError):  # a thread that was given up still runs it
            await in_thread(generator.close)


def _exit_of(error: BaseException) -> ProductExitError:
    return ProductExitError(f"the product's code raised {type(error).__name__}: {error}")


def mark_product() -> None:
    """From here on, the current task and every task that it starts may run a product's code."""
    _in_product.set(True)


def contain_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let no task that a product starts end the event loop: asyncio raises SystemExit of a task out of the loop."""

    def create(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_contained(coro) if _in_product.get() else coro, loop=loop, **options)

    loop.set_task_factory(create)  # type: ignore[arg-type]


async def _contained(coro: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coro
    except (SystemExit, KeyboardInterrupt) as error:
        raise _exit_of(error) from error
