"""Hears at once which turns should stop. What it misses, the heartbeat's renewal tells a little later."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.keys import CANCELS

log = logging.getLogger(__name__)


async def listen(redis: Redis, on_cancel: Callable[[str], None]) -> None:
    """Call `on_cancel(run id)` for every cancel request, until cancelled; reconnects by itself."""
    while True:
        try:
            pubsub: Any = redis.pubsub(ignore_subscribe_messages=True)
            async with pubsub:
                await pubsub.subscribe(CANCELS)
                async for message in pubsub.listen():
                    on_cancel(message["data"].decode())
        except (RedisError, OSError) as error:
            log.warning("waiting for cancel requests: %s", type(error).__name__)
            await asyncio.sleep(0.2)
