"""A server that has lost acknowledged writes: the next write of the attempt says so, and changes nothing."""

import pytest

from tests.support.turns import KEY, append, delta, log_of, lose_lease, seqs_of, snapshot, step, submit_and_claim
from turnwire.shared.errors import AttemptFenced
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.scripts import LogBehind, StepsBehind

A, B, C, D = (delta(letter) for letter in "abcd")


@pytest.fixture
async def claimed(store, redis):
    """An attempt whose log has lost the last two of four events."""
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, A, B)
    await redis.xdel(KEY.events, "1-2")
    return claimed


async def refused(redis, call) -> int:
    before = await snapshot(redis)
    with pytest.raises(LogBehind) as caught:
        await call
    after = await snapshot(redis)
    assert {name: content for name, (content, _) in after.items()} == {name: kept for name, (kept, _) in before.items()}
    return caught.value.next_seq


async def test_an_append_says_which_seq_the_log_lacks(store, redis, claimed):
    assert await refused(redis, append(store, claimed, 3, C)) == 2


async def test_a_checkpoint_says_it(store, redis, claimed):
    assert await refused(redis, store.checkpoint(claimed, step(0, "1-2"), next_seq=3)) == 2


async def test_a_suspension_says_it(store, redis, claimed):
    assert await refused(redis, store.suspend(claimed, "go", None, 3, C)) == 2


async def test_the_end_of_the_turn_says_it(store, redis, claimed):
    assert await refused(redis, store.settle(claimed, TurnState.COMPLETED, 3, [C], {})) == 2


async def test_events_that_are_written_again_close_the_gap(store, redis):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, A, B)
    await redis.delete(KEY.events)  # a restored copy, in which an id may come again
    await redis.xadd(KEY.events, {"e": claimed.first_event}, id="1-0")
    await append(store, claimed, 1, A, B, C)
    assert seqs_of(await log_of(store)) == [0, 1, 2, 3]


async def test_a_lease_that_lapsed_meanwhile_does_not_matter(store, redis, claimed):
    await lose_lease(store)
    assert await refused(redis, append(store, claimed, 3, C)) == 2


async def test_a_log_that_was_erased_is_not_behind(store, redis, claimed):
    await redis.delete(KEY.events)
    with pytest.raises(AttemptFenced):
        await append(store, claimed, 3, C)


async def test_a_checkpoint_says_how_many_steps_are_left(store, redis):
    claimed = await submit_and_claim(store)
    await store.checkpoint(claimed, step(0, "1-0"), b"[]", next_seq=1)
    await store.checkpoint(claimed, step(1, "1-0"), next_seq=1, known=2)
    await redis.hdel(KEY.steps, "1")
    with pytest.raises(StepsBehind) as caught:
        await store.checkpoint(claimed, step(2, "1-0"), next_seq=1, known=3)
    assert caught.value.count == 2
    with pytest.raises(StepsBehind):
        await store.suspend(claimed, "go", None, 1, C, known=3)
    await store.checkpoint(claimed, step(1, "1-0"))
    await store.checkpoint(claimed, step(2, "1-0"), next_seq=1, known=3)
    assert await redis.hlen(KEY.steps) == 4
