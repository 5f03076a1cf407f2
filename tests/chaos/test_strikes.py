"""The strikes of chaos do what they say."""

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import Awaitable

import pytest

from chaos.clock import SteppedClock
from chaos.deployment import observer
from chaos.monkey import CLOCK_STEP_S, Monkey
from chaos.proxy import running_proxy
from stack.redis_server import RedisServer
from tests.support.waiting import wait_until


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc)")
async def test_the_wall_clock_of_a_server_is_stepped_ahead_and_back(tmp_path):
    server = RedisServer(tmp_path / "redis")
    clock = SteppedClock(tmp_path, server.service)
    with server:
        redis = observer(server.url)
        monkey = Monkey([], server, redis, random.Random(1), 1.0, clock=clock, strikes=[])

        async def ahead_s() -> float:
            return (await redis.time())[0] - time.time()

        await monkey.step_clock()
        await wait_until(lambda: is_near(ahead_s(), CLOCK_STEP_S), "the clock is ahead")
        await monkey.step_clock()
        await wait_until(lambda: is_near(ahead_s(), 0), "the clock is back")
        assert monkey.clock_may_go_back_s == CLOCK_STEP_S
        await redis.aclose()


async def is_near(seconds: Awaitable[float], expected: float) -> bool:
    return abs(await seconds - expected) < 5


async def test_a_server_is_a_replica_only_for_a_while(tmp_path):
    with RedisServer(tmp_path / "redis") as server:
        redis = observer(server.url)
        monkey = Monkey([], server, redis, random.Random(1), 1.0, strikes=["make_read_only"])
        striking = asyncio.create_task(monkey.strike())
        roles = set()
        while not striking.done():
            roles.add((await redis.role())[0])
        await striking
        assert (await redis.role())[0] == b"master"
        await redis.aclose()
    assert b"slave" in roles


async def test_the_proxy_resets_connections_instead_of_ending_them(tmp_path):
    with RedisServer(tmp_path / "redis") as server, running_proxy(tmp_path, server.url) as (proxy, url):
        host, port = url.removeprefix("redis://").removesuffix("/0").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PING\r\n")
        assert await reader.readline() == b"+PONG\r\n"
        os.kill(proxy.pid, signal.SIGUSR1)
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        writer.close()
        redis = observer(url)
        assert await redis.ping()  # the proxy accepts new connections
        await redis.aclose()


async def test_the_queue_loses_its_data_alone(tmp_path):
    with RedisServer(tmp_path / "redis") as server:
        data, queue = observer(server.url_of(0)), observer(server.url_of(2))
        await data.set("turn", "1")
        await queue.set("job", "1")
        await Monkey([], server, data, random.Random(1), 1.0, queue=queue, strikes=[]).lose_queue()
        assert (await data.dbsize(), await queue.dbsize()) == (1, 0)
        for client in (data, queue):
            await client.aclose()
