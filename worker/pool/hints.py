"""Wakes an idle worker: each enqueue pushes a hint onto a list, and an idle worker waits for one in a blocking pop.

Hints may be lost, for the queue itself is the truth. So a worker that waits looks at the queue after `poll_s` anyway.
"""

import asyncio
import logging
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from turnwire.shared import keys
from turnwire.shared.lanes import read_pools
from turnwire.shared.settings import Settings

logger = logging.getLogger(__name__)

PAUSE_S: Final = 0.2  # the pause before the next look at the queue, after the connection broke


class Hints:
    """Waits for hints, on a connection of its own."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis: Any = redis  # redis-py's own annotations do not pass a strict checker
        self._lists = [keys.hints(pool) for pool in read_pools(settings.pools)]
        self._newcomers = [keys.NEWCOMERS_PREFIX + pool for pool in read_pools(settings.pools)]
        self._poll_s = settings.poll_s
        self._answer_s = settings.redis_timeout_s

    async def wait(self, due_ms: int | None) -> bool:
        """Wait until a job is enqueued, or the next one is due in `due_ms` (None: there is none).

        Returns: True if a hint was popped. It is also True after an error, because a hint may have been lost with it.
        """
        timeout_s = self._poll_s if due_ms is None else min(self._poll_s, max(due_ms, 1) / 1000)
        popped = await self._pop(self._lists, timeout_s)
        return popped is None or popped

    async def newcomer(self, timeout_s: float) -> bool:
        """Wait until a tenant asks that had nothing waiting. Returns whether one has."""
        return bool(await self._pop(self._newcomers, timeout_s))

    async def _pop(self, lists: list[str], timeout_s: float) -> bool | None:
        """Wait for an entry. Returns whether one was popped; None after an error."""
        try:
            async with asyncio.timeout(timeout_s + self._answer_s):  # the reply may never come
                return await self._redis.blpop(lists, timeout=timeout_s) is not None
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("waiting for jobs: no connection to Redis (%s); trying again", type(error).__name__)
            await asyncio.sleep(PAUSE_S)
            return None
