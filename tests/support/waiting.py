"""The only place in the tests that sleeps."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

LIMIT_S = 20.0  # not a promise: a test that waits for longer than this would wait for ever
LOAD_S = 5.0  # what a loaded machine may add to a time that Turnwire promises; the benchmarks check the tight figures
FIRST_LOOK_S, LAST_LOOK_S = 0.005, 0.025  # who has waited for long looks less often


async def wait_until(condition: Callable[[], Any], description: str, limit_s: float = LIMIT_S) -> Any:
    """Wait until `condition`, a plain or a coroutine function, returns a truthy value. Returns this value.

    Raises:
        AssertionError: the condition never came true. The message says what was waited for.
    """
    deadline_s = time.monotonic() + limit_s
    look_s = FIRST_LOOK_S
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline_s, f"waited {limit_s} s for: {description}"
        await asyncio.sleep(look_s)
        look_s = min(look_s * 1.1, LAST_LOOK_S)


async def let_pass(seconds: float) -> None:
    """Let time pass. This is only for tests about what happens when nothing happens for a while."""
    await asyncio.sleep(seconds)
