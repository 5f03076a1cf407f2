"""The check that runs after every test: does it see what it is there for?"""

import pytest

from tests.support.keyleak import find_leaks
from tests.support.turns import KEY, SESSION, lose_lease, submit_and_claim
from turnwire.shared import keys


@pytest.fixture(autouse=True)
async def cleaned(redis):
    """These tests leak on purpose."""
    yield
    await redis.flushall()


async def test_a_running_turn_is_no_leak(redis, store, queue):
    await queue.enqueue(KEY.run_id)
    await submit_and_claim(store)
    assert await find_leaks(redis) == []


@pytest.mark.parametrize("kind", ["record", "events", "steps", "signals"])
async def test_a_key_that_outlives_its_ended_turn_is_a_leak(redis, kind):
    await redis.hset(KEY.record, "status", "failed")
    await redis.pexpire(KEY.record, 5000)
    name = getattr(KEY, kind)
    if kind == "events":
        await redis.xadd(name, {"e": "x"}, id="1-0")
    else:
        await redis.hset(name, "status", "failed")
        await redis.persist(name)
    assert await find_leaks(redis) == [f"{name}: its turn is failed, but it has no TTL"]
    await redis.pexpire(name, 5000)
    assert await find_leaks(redis) == []


async def test_a_lease_without_an_end_is_a_leak(redis, store):
    await submit_and_claim(store)
    await redis.persist(KEY.lease)
    assert await find_leaks(redis) == [f"{KEY.lease}: a lease without an end"]


async def test_what_is_left_of_a_turn_that_is_gone_is_a_leak(redis, store):
    await submit_and_claim(store)
    await lose_lease(store)
    await redis.delete(KEY.record)
    assert await find_leaks(redis) == [f"{KEY.events}: its turn does not exist"]


async def test_a_session_that_has_no_open_turn_and_stays_is_a_leak(redis, store):
    await submit_and_claim(store)
    await redis.delete(SESSION.open)
    assert {leak.partition(":chat")[0] for leak in await find_leaks(redis)} == {"session", "turns"}


@pytest.mark.parametrize("name", ["x", "turnwire:other", "arq:other", "thing:chat:{demo}:0", "thing:chat:{demo}"])
async def test_a_key_that_nobody_owns_is_a_leak(redis, name):
    await redis.set(name, "x", px=5000)
    assert await find_leaks(redis) == [f"{name}: shared/keys.py does not own it"]


@pytest.mark.parametrize("name", [keys.job(KEY.run_id), keys.in_progress(KEY.run_id)])
async def test_a_job_or_claim_without_an_end_is_a_leak(redis, name):
    await redis.set(name, "x")
    assert await find_leaks(redis) == [f"{name}: a job or a claim without an end"]
