"""checkpoint: a step's result is stored by the holder of the lease only, and extends the lease."""

import pytest

from tests.support.turns import KEY, claim, lose_lease, snapshot, step, submit_and_claim, take_over
from turnwire.shared.errors import AttemptFenced
from turnwire.shared.lifecycle import TurnState

STEP = step(0, "1-0", result={"found": 3})


async def test_the_next_attempt_gets_the_stored_result(store):
    claimed = await submit_and_claim(store)
    await store.checkpoint(claimed, STEP)
    taken_over = await take_over(store)
    assert taken_over.steps == {0: STEP}


async def test_repeating_a_checkpoint_changes_nothing(store, redis, twice):
    claimed = await submit_and_claim(store)
    await twice(lambda: store.checkpoint(claimed, STEP))
    assert (await claim(store)).steps == {0: STEP}
    assert await redis.hlen(KEY.steps) == 1


async def test_a_checkpoint_extends_the_lease(store, redis, settings):
    claimed = await submit_and_claim(store)
    await redis.pexpire(KEY.lease, 500)
    await store.checkpoint(claimed, STEP)
    assert settings.lease_ms - 500 < await redis.pttl(KEY.lease) <= settings.lease_ms


async def test_a_lapsed_lease_that_nobody_took_comes_back(store, redis):
    claimed = await submit_and_claim(store)
    await lose_lease(store)
    await store.checkpoint(claimed, STEP)
    assert (await redis.get(KEY.lease)).decode() == claimed.token


async def test_a_stale_attempt_is_fenced_and_writes_nothing(store, redis):
    stale = await submit_and_claim(store)
    await take_over(store)
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await store.checkpoint(stale, STEP)
    assert await snapshot(redis) == before


async def test_a_replaced_lease_is_fenced_even_under_the_same_attempt(store, redis):
    claimed = await submit_and_claim(store)
    await redis.set(KEY.lease, "somebody#1", px=5000)
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await store.checkpoint(claimed, STEP)
    assert await snapshot(redis) == before


async def test_an_ended_turn_takes_no_checkpoint(store, redis):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [], {})
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await store.checkpoint(claimed, STEP)
    assert await snapshot(redis) == before


async def test_a_turn_that_was_handed_over_takes_no_checkpoint(store, redis):
    claimed = await submit_and_claim(store)
    await store.handover(claimed)
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await store.checkpoint(claimed, STEP)
    assert await snapshot(redis) == before


async def test_a_server_that_forgot_the_script_gets_it_again(store, redis):
    claimed = await submit_and_claim(store)
    await redis.script_flush()
    await store.checkpoint(claimed, STEP)
    assert await redis.hlen(KEY.steps) == 1
