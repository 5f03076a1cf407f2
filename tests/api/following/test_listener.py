"""The listener ends when it is cancelled, whatever happens to its connection at that moment."""

import asyncio

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError as RedisConnectionError

from turnwire.api.following.listener import Listener


async def test_a_cancel_is_not_forgotten_when_the_connection_is_lost_at_the_same_time(redis: ArqRedis):
    class Unlucky(Listener):
        async def _read(self, connection: object) -> None:
            running.cancel()
            raise RedisConnectionError("lost")

    running = asyncio.create_task(Unlucky(redis, lambda *_: None, lambda _: None).run())
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await running
