"""Hears at once which turns should stop. What it misses, the heartbeat's renewal tells a little later."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from turnwire.shared.keys import CANCELS

logger = logging.getLogger(__name__)

PING_S: Final = 5.0  # of silence, then the connection has to show that it lives


async def listen(redis: Redis, on_cancel: Callable[[str], None]) -> None:
    """Call `on_cancel(run id)` for every cancel request, until cancelled; reconnects by itself."""
    while True:
        try:
            pubsub: Any = redis.pubsub()
            async with pubsub:
                await pubsub.subscribe(CANCELS)
                await _read(pubsub, on_cancel)
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("waiting for cancel requests: %s", type(error).__name__)
            await asyncio.sleep(0.2)


async def _read(pubsub: Any, on_cancel: Callable[[str], None]) -> None:
    """Raises TimeoutError when not even a ping is answered."""
    pinged = False
    while True:
        message = await pubsub.get_message(timeout=PING_S)
        if message is None:
            if pinged:
                raise TimeoutError
            await pubsub.ping()
            pinged = True
            continue
        pinged = False
        if message["type"] == "message":
            on_cancel(message["data"].decode())
