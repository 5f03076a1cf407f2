"""Many readers cost no more connections to Redis, subscriptions and reads than a few."""

import resource
from contextlib import ExitStack

import httpx
import pytest

from tests.support.observed import Observed
from tests.support.rawtail import open_stalled, readers
from tests.support.waiting import wait_until
from turnwire.shared.settings import Settings

FEW, MANY = 5, 500
JOINING = 200


async def test_many_readers_take_as_few_connections_of_redis_as_a_few(service: Observed):
    turns = [await service.turn(f"c-{number}") for number in range(MANY)]
    before = service.descriptors()
    for count in (FEW, MANY):
        async with readers(service.url, *(turn.events for turn in turns[:count])):
            assert await service.connections() <= Settings().redis_connections
            assert await service.subscriptions() == count
        await service.left(before)


async def test_readers_of_one_turn_share_its_subscription(service: Observed):
    turn, before = await service.turn("shared"), service.descriptors()
    async with readers(service.url, *[turn.events] * 50) as following:
        assert await service.subscriptions() == 1
        for reader in following[1:]:
            reader.transport.abort()
        await service.left(before + 1, subscriptions=1)
    await service.left(before)


async def test_readers_that_join_a_running_turn_share_reads(service: Observed):
    turn, before = await service.turn("joined"), service.descriptors()
    await turn.say(*(f"word {number} " for number in range(40)))
    reads = await service.reads()
    async with readers(service.url, *[turn.events] * JOINING):
        assert await service.reads() - reads < JOINING / 2
    await service.left(before)


async def test_a_burst_costs_no_read_however_many_follow_it(service: Observed):
    turn, before = await service.turn("burst"), service.descriptors()
    async with readers(service.url, *[turn.events] * JOINING) as following:
        reads = await service.reads()
        for number in range(50):
            await turn.say(*(f"word {number}.{part} " for part in range(20)))
        await turn.end()
        for reader in following:
            await reader.ended.wait()
        assert await service.reads() == reads
        assert all(reader.complete for reader in following)
    await service.left(before)


async def test_a_reader_gets_the_bytes_of_the_log(service: Observed):
    """The order of keys, the spelling of numbers and the escapes stay: nothing is decoded and encoded again."""
    turn = await service.turn("bytes")
    odd = '{"type":"odd","data":{"z":1.50,"a":"\\u00e9\\/","b":[1e3,-0.0,{}]}}'
    await service.redis.xadd(turn.key.events, {"e": odd}, id="1-1")
    async with (
        httpx.AsyncClient(base_url=service.url, trust_env=False) as client,
        client.stream("GET", turn.events) as it,
    ):
        lines = it.aiter_lines()
        await anext(lines)
        assert await anext(lines) == '{"id":"1-1",' + odd[1:]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux")
async def test_a_process_says_when_its_file_descriptors_run_out(service: Observed):
    turn, before = await service.turn("descriptors"), service.descriptors()
    pid = service.stack.api[0].pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        async with readers(service.url, turn.events) as (reader,):
            with ExitStack() as stack:
                for _ in range(100):
                    stack.enter_context(open_stalled(service.url, turn.events))
                log = service.stack.api[0].log
                await wait_until(lambda: "almost all of the 100 file descriptors are in use" in log(), "it says so")
                await turn.end()
                await wait_until(lambda: reader.complete, "readers that were connected before read on")
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    await service.left(before)
