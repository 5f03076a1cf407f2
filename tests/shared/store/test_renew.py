"""renew: the holder keeps its lease, and hears that somebody wants the turn cancelled."""

from tests.support.turns import KEY, SESSION, lose_lease, snapshot, submit_and_claim, take_over
from turnwire.shared.errors import AttemptFenced
from turnwire.shared.lifecycle import TurnState


async def test_c79_renewing_extends_the_lease(store, redis, settings):
    claimed = await submit_and_claim(store)
    await redis.pexpire(KEY.lease, 500)
    assert await store.renew_many([claimed]) == [False]
    assert settings.lease_ms - 500 < await redis.pttl(KEY.lease) <= settings.lease_ms


async def test_a_lapsed_lease_that_nobody_took_comes_back(store, redis):
    claimed = await submit_and_claim(store)
    await lose_lease(store)
    assert await store.renew_many([claimed]) == [False]
    assert (await redis.get(KEY.lease)).decode() == claimed.token


async def test_a_stale_attempt_is_fenced_and_writes_nothing(store, redis):
    stale = await submit_and_claim(store)
    await take_over(store)
    before = await snapshot(redis)
    [error] = await store.renew_many([stale])
    assert isinstance(error, AttemptFenced)
    assert await snapshot(redis) == before


async def test_an_ended_turn_gets_no_lease(store, redis):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [], {})
    [error] = await store.renew_many([claimed])
    assert isinstance(error, AttemptFenced)
    assert not await redis.exists(KEY.lease)


async def test_one_round_trip_answers_for_each_attempt(store):
    stale = await submit_and_claim(store)
    await take_over(store)
    other = await submit_and_claim(store, SESSION.turn(1), on_busy="concurrent")
    third = await submit_and_claim(store, SESSION.turn(2), on_busy="concurrent")
    await store.cancel(third.key)
    lost, fine, wanted = await store.renew_many([stale, other, third])
    assert isinstance(lost, AttemptFenced)
    assert (fine, wanted) == (False, True)


async def test_repeating_a_renewal_changes_nothing(store, redis, twice):
    claimed = await submit_and_claim(store)
    assert await twice(lambda: store.renew_many([claimed])) == [False]
    assert (await redis.get(KEY.lease)).decode() == claimed.token


async def test_a_server_that_forgot_the_script_gets_it_again(store, redis):
    claimed = await submit_and_claim(store)
    await redis.script_flush()
    assert await store.renew_many([claimed]) == [False]
