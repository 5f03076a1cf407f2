"""Keeps the side tasks of a process running. One that ends unexpectedly is logged and started again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

logger = logging.getLogger(__name__)

RESTART_S: Final = 0.2  # the pause before a task that failed is started again; doubled each time
LONGEST_RESTART_S: Final = 5.0  # the longest pause


async def kept_running(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until it returns or this task is cancelled, and again whenever it raises.

    A CancelledError that comes from inside `work`, while nobody cancels this task, counts as a failure too: a TaskGroup
    would take it for an ordinary end.
    """
    pause_s = RESTART_S
    while True:
        began_s = asyncio.get_running_loop().time()
        try:
            await work()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            logger.exception("%s was cancelled from inside; it is started again", name)
        except Exception:
            logger.exception("%s failed; it is started again", name)
        else:
            return
        if asyncio.get_running_loop().time() - began_s > LONGEST_RESTART_S:
            pause_s = RESTART_S
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_RESTART_S)
