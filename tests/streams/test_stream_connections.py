"""Many readers cost Redis no more connections, subscriptions and reads than a few."""

import httpx

from tests.support.observed import Observed
from tests.support.rawtail import readers
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


async def test_the_log_s_own_bytes_arrive(service: Observed):
    """Order of keys, spelling of numbers and escapes: nothing was decoded and encoded again."""
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
