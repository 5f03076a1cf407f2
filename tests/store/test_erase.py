"""erase: no key of a session is left, and nobody who was at work on it can bring one back."""

import pytest

from shared.errors import AttemptFenced
from shared.lifecycle import TurnState
from tests.support.turns import KEY, SESSION, append, delta, request, snapshot, step, submit_and_claim


async def test_no_key_is_left_of_many_turns(store, redis):
    for index in range(450):
        await store.submit(SESSION.turn(index), request(f"m{index}"))
    assert await store.erase(SESSION) is True
    assert await redis.keys("*") == []
    assert await store.erase(SESSION) is False


async def test_a_worker_that_runs_one_of_its_turns_brings_nothing_back(store, redis):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, delta("a"))
    await store.checkpoint(claimed, step(0, "1-1"))
    await store.erase(SESSION)
    with pytest.raises(AttemptFenced):
        await append(store, claimed, 2, delta("b"))
    with pytest.raises(AttemptFenced):
        await store.checkpoint(claimed, step(1, "1-2"))
    with pytest.raises(AttemptFenced):
        await store.settle(claimed, TurnState.COMPLETED, 2, [], {})
    [refused] = await store.renew_many([claimed])
    assert isinstance(refused, AttemptFenced)
    assert await store.handover(claimed) is False
    assert await redis.keys("*") == []


async def test_its_workers_are_told(store, redis):
    async with redis.pubsub(ignore_subscribe_messages=True) as listening:
        await listening.subscribe("turnwire:cancels")
        await submit_and_claim(store)
        await store.erase(SESSION)
        async for message in listening.listen():
            assert message["data"].decode() == KEY.run_id
            break


async def test_erasing_may_be_repeated(store, redis, twice):
    await store.submit(KEY, request())
    await twice(lambda: store.erase(SESSION))
    assert await snapshot(redis) == {}
