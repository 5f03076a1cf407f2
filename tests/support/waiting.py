"""The only place in the tests that sleeps."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

LIMIT_S = 20.0  # no promise: a test that waits for longer than this waits for what never comes
LOAD_S = 5.0  # what a loaded machine may add to a time that Turnwire promises; the benchmarks hold the tight figures
LOOK_S = 0.005


async def wait_until(condition: Callable[[], Any], description: str, limit_s: float = LIMIT_S) -> Any:
    """Return the first truthy value of `condition`, a plain or a coroutine function.

    Raises:
        AssertionError: it never came true; names what was waited for.
    """
    deadline_s = time.monotonic() + limit_s
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline_s, f"waited {limit_s} s for: {description}"
        await asyncio.sleep(LOOK_S)


async def let_pass(seconds: float) -> None:
    """Wait for time itself to pass: only where doing nothing for a while is what is measured."""
    await asyncio.sleep(seconds)
