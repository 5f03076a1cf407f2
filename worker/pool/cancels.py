"""Listens for cancel requests, so that turns stop at once.

A request that is missed here is not lost: the renewal of the lease, with the next heartbeat, reports it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

PING_S: Final = 5.0  # after so much silence, a ping checks that the connection still works


async def listen(redis: Redis, channel: str, on_cancel: Callable[[str], None]) -> None:
    """Call `on_cancel(run_id)` for every message of the channel. Runs until cancelled, and reconnects by itself.

    A message may be wrong, so the caller has to look whether the turn is really cancelled.
    """
    while True:
        try:
            pubsub: Any = redis.pubsub()
            async with pubsub:
                await pubsub.subscribe(channel)
                await _read(pubsub, on_cancel)
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("waiting for cancels: no connection to Redis (%s); trying again", type(error).__name__)
            await asyncio.sleep(0.2)


async def _read(pubsub: Any, on_cancel: Callable[[str], None]) -> None:
    """Read messages until the connection breaks.

    Raises:
        TimeoutError: a ping was not answered.
    """
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
            on_cancel(message["data"].decode(errors="replace"))  # a strange message names no turn that runs here
