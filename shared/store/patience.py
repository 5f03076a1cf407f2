"""Waits for a Redis that does not answer: restart, failover, partition."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from turnwire.shared.errors import StoreUnavailable

logger = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0

T = TypeVar("T")


async def until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until Redis answers, 50 ms to 1 s apart. Only for what may be repeated: every script of ours."""
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await ask()
        except StoreUnavailable as error:
            logger.warning("%s, asking again in %d ms", error, pause_s * 1000)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
