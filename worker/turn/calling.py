"""Calls a product's code, whichever way it is written."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


async def call(function: Callable[..., Any], *args: Any) -> Any:
    """A coroutine function here; a plain one in a thread, so that it cannot hold up other turns."""
    if inspect.iscoroutinefunction(function):
        return await function(*args)
    result = await asyncio.to_thread(function, *args)
    return await result if inspect.isawaitable(result) else result
