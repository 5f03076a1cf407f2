"""erase: no key of a session is left, and nobody who was at work on it can bring one back."""

import pytest

from tests.support.turns import (
    KEY,
    OTHER_WORKER,
    SESSION,
    append,
    delta,
    lose_lease,
    request,
    snapshot,
    step,
    submit_and_claim,
)
from turnwire.shared.errors import AttemptFenced
from turnwire.shared.events import RUN_SUSPENDED, encode_event
from turnwire.shared.lifecycle import TurnState

SUSPENDED = encode_event(RUN_SUSPENDED, {"awaiting": "approval", "timeoutMs": None})


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
    assert await store.handover(claimed) == b""
    assert await redis.keys("*") == []


async def test_a_worker_of_the_erased_turn_writes_nothing_into_the_one_asked_anew(store, redis):
    """Both are attempt 1. A worker that had not heard of the erasure yet wrote on into the new turn's log."""
    erased = await submit_and_claim(store)
    await store.erase(SESSION)
    await submit_and_claim(store, worker=OTHER_WORKER)
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await append(store, erased, 1, delta("of the erased turn"))
    assert await snapshot(redis) == before
    await lose_lease(store)  # nor when its new worker has died
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await append(store, erased, 1, delta("of the erased turn"))
    with pytest.raises(AttemptFenced):
        await store.checkpoint(erased, step(0, "1-1"))
    with pytest.raises(AttemptFenced):
        await store.settle(erased, TurnState.COMPLETED, 1, [], {})
    assert not await store.handover(erased)
    assert await snapshot(redis) == before


async def test_a_worker_of_the_erased_turn_does_not_share_the_suspension_of_the_one_asked_anew(store, redis):
    erased = await submit_and_claim(store)
    await store.erase(SESSION)
    anew = await submit_and_claim(store, worker=OTHER_WORKER)
    await store.suspend(anew, "approval", None, 1, SUSPENDED)
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await store.suspend(erased, "approval", None, 1, SUSPENDED)
    assert await snapshot(redis) == before


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
