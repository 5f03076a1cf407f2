"""Calls a product's code for a limited time."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from turnwire.worker.turn.calling import ProductExitError, call
from turnwire.worker.turn.given_up import given_up

CLOSE_S: Final = 5.0  # time limit of each call of a product when a turn or a worker ends
LEAVE_S: Final = 1.0  # a call that is cancelled may take so long to clean up


class CallTimeoutError(TimeoutError):
    """A product's code took longer than its time limit."""


async def call_within(limit_s: float, function: Callable[..., Any], *args: Any) -> Any:
    """Call a product's function as `call` does, but wait for it no longer than `limit_s` seconds.

    The function runs in a task of its own. So it cannot cancel its caller, and the caller continues even if the
    function swallows its cancellation.

    Raises:
        CallTimeoutError: the function took longer.
        ProductExitError: the function cancelled itself, or see `call`.
        Exception: whatever the function raises.
    """
    name = getattr(function, "__qualname__", type(function).__name__)
    task = asyncio.create_task(call(function, *args), name=f"call of {name}")
    try:
        await asyncio.wait({task}, timeout=limit_s)
    except asyncio.CancelledError:
        await give_up(task)
        raise
    if not task.done():
        await give_up(task)
        raise CallTimeoutError(f"{name} took longer than {limit_s:g} s")
    if task.cancelled():
        raise ProductExitError(f"{name} cancelled itself")
    return task.result()


async def give_up(task: "asyncio.Task[Any]") -> None:
    """Cancel a task that runs a product's code, and wait for its end, but not for long."""
    task.cancel()
    try:
        await asyncio.wait({task}, timeout=LEAVE_S)
    finally:
        if not task.done():
            given_up.add_task(task)
        elif not task.cancelled():
            task.exception()  # asyncio would report an exception that nobody has looked at
