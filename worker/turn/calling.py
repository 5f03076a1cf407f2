"""Calls a product's plain functions, coroutine functions and generators. Their exceptions reach nothing but their turn.

Rule 1: a product's code is called through `call`, or inside a `with contained()` block.
Rule 2: whatever it raises becomes an ordinary Exception here. SystemExit and KeyboardInterrupt would end the event
loop, StopIteration would be lost in a future, and a CancelledError that the product raised itself would look as if
Turnwire had stopped the turn.
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
    """Turn whatever the product's code inside the block raises into an Exception.

    A cancellation of the current task passes unchanged, and so does GeneratorExit.

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
    """Call a coroutine function in this task, and a plain function in a thread, where it cannot hold up other turns.

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
        ProductExitError: instead of an exception that asyncio's futures cannot hold, such as StopIteration.
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
    """Call a function that makes events, and return its result.

    An async generator function is called in this task, because the call runs none of its code.
    """
    if inspect.isasyncgenfunction(function):
        return function(*args)
    return await call(function, *args)


async def iterated(generator: Generator[Any, Any, Any]) -> AsyncGenerator[Any]:
    """Yield the items of a plain generator, which makes each of them in a thread."""
    try:
        while (item := await in_thread(next, generator, _END)) is not _END:
            yield item
    finally:
        with suppress(ValueError):  # raised if a thread that was given up still runs the generator
            await in_thread(generator.close)


def _exit_of(error: BaseException) -> ProductExitError:
    return ProductExitError(f"the product's code raised {type(error).__name__}: {error}")


def mark_product() -> None:
    """Note that the current task, and every task that it starts from now on, may run a product's code."""
    _in_product.set(True)


def contain_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Keep SystemExit and KeyboardInterrupt inside the tasks that a product starts. asyncio lets them end the loop."""

    def create(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_contained(coro) if _in_product.get() else coro, loop=loop, **options)

    loop.set_task_factory(create)  # type: ignore[arg-type]


async def _contained(coro: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coro
    except (SystemExit, KeyboardInterrupt) as error:
        raise _exit_of(error) from error
