"""A full server takes what keeps running turns where they are, and what frees memory; it refuses the rest."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.turns import KEY, OTHER_WORKER, WORKER, append, delta, lose_lease, submit_and_claim
from turnwire.shared import keys
from turnwire.shared.errors import StoreUnavailable

RUN_ID = KEY.run_id


@asynccontextmanager
async def full(redis) -> AsyncIterator[None]:
    await redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        await redis.config_set("maxmemory", 0)


async def test_it_extends_a_lease(store, redis):
    claimed = await submit_and_claim(store)
    await redis.pexpire(KEY.lease, 500)
    async with full(redis):
        assert await store.renew_many([claimed]) == [False]
    assert await redis.pttl(KEY.lease) > 500


async def test_it_gives_a_lapsed_lease_back(store, redis):
    claimed = await submit_and_claim(store)
    await lose_lease(store)
    async with full(redis):
        assert await store.renew_many([claimed]) == [False]
    assert (await redis.get(KEY.lease)).decode() == claimed.token


async def test_it_takes_a_heartbeat(queue, redis):
    await queue.enqueue(RUN_ID)
    await queue.take(WORKER, 1)
    await redis.delete(keys.in_progress(RUN_ID))
    await redis.zadd(keys.QUEUE, {RUN_ID: 1})
    async with full(redis):
        await queue.extend(WORKER, b"alive", [RUN_ID])
        await queue.extend(OTHER_WORKER, b"idle", [])
    assert await redis.get(keys.in_progress(RUN_ID)) == WORKER.encode()
    assert await queue.workers() == {WORKER: b"alive", OTHER_WORKER: b"idle"}
    assert (await queue.take(OTHER_WORKER, 1))[0] == []


async def test_it_lets_jobs_end(queue, redis):
    await queue.enqueue(RUN_ID)
    [taken], _ = await queue.take(WORKER, 1)
    async with full(redis):
        await queue.end(WORKER, taken)
    assert not await redis.exists(keys.QUEUE, keys.job(RUN_ID), keys.in_progress(RUN_ID))


async def test_it_refuses_events(store, redis):
    claimed = await submit_and_claim(store)
    async with full(redis):
        with pytest.raises(StoreUnavailable):
            await append(store, claimed, 1, delta("a"))
    await append(store, claimed, 1, delta("a"))
