"""Waits while Redis does not answer, for example during a restart, a failover or a network partition."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, ParamSpec, TypeVar

from turnwire.shared.errors import StoreUnavailable

logger = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0

P = ParamSpec("P")
T = TypeVar("T")


async def until_answered(ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `ask` with these arguments until Redis answers. The pauses between calls grow from 50 ms to 1 s.

    Use it only for calls that can be repeated safely. Every script can be, except `take`.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await ask(*args, **kwargs)
        except StoreUnavailable as error:
            logger.warning("%s; trying again in %d ms", error, pause_s * 1000)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
