"""handover: a draining worker gives a turn back."""

from tests.support.turns import KEY, OTHER_WORKER, SESSION, claim, snapshot, submit_and_claim, take_over
from turnwire.shared.lifecycle import TurnState


async def test_the_turn_is_queued_and_free_at_once(store, redis):
    claimed = await submit_and_claim(store)
    assert await store.handover(claimed)
    assert (await store.record(KEY)).status is TurnState.QUEUED
    assert not await redis.exists(KEY.lease)
    assert (await claim(store, worker=OTHER_WORKER)).attempt == 2


async def test_a_stale_attempt_gives_nothing_back(store, redis):
    stale = await submit_and_claim(store)
    await take_over(store)
    before = await snapshot(redis)
    assert await store.handover(stale) == b""
    assert await snapshot(redis) == before


async def test_a_replaced_lease_is_not_given_back(store, redis):
    claimed = await submit_and_claim(store)
    await redis.set(KEY.lease, "somebody#1", px=5000)
    before = await snapshot(redis)
    assert await store.handover(claimed) == b""
    assert await snapshot(redis) == before


async def test_an_ended_turn_stays_ended(store, redis):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [], {})
    before = await snapshot(redis)
    assert await store.handover(claimed) == b""
    assert await snapshot(redis) == before


async def test_repeating_a_handover_changes_nothing(store, twice):
    claimed = await submit_and_claim(store)
    await twice(lambda: store.handover(claimed))
    assert (await store.record(KEY)).status is TurnState.QUEUED


async def test_repeating_it_after_the_next_claim_takes_nothing_away(store, redis):
    claimed = await submit_and_claim(store)
    row = await store.handover(claimed)
    await claim(store, worker=OTHER_WORKER)
    before = await snapshot(redis)
    assert await store.handover(claimed) == row
    assert await snapshot(redis) == before


async def test_nothing_is_published_of_a_session_that_nobody_follows(store, redis, published):
    claimed = await submit_and_claim(store)
    next_message = await published(SESSION.channel(""))
    assert await store.handover(claimed)
    await redis.publish(SESSION.channel(""), "the first")
    assert await next_message() == b"the first"


async def test_a_server_that_forgot_the_script_gets_it_again(store, redis):
    claimed = await submit_and_claim(store)
    await redis.script_flush()
    assert await store.handover(claimed)
