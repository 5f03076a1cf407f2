"""A server that has lost acknowledged writes: the next write of the attempt says so, and changes nothing."""

import msgspec
import pytest

from tests.support.turns import KEY, append, claim, delta, log_of, lose_lease, seqs_of, snapshot, step, submit_and_claim
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


@pytest.fixture
async def overwritten(store, redis):
    """An attempt whose step failed, succeeded, and was then lost in its second version."""
    claimed = await submit_and_claim(store)
    failed = msgspec.structs.replace(step(0, "1-0"), status="failed")
    await store.checkpoint(claimed, failed, b"[]", next_seq=1, number=1)
    first = await redis.hgetall(KEY.steps), await redis.hgetall(KEY.record)
    await store.checkpoint(claimed, step(0, "1-0"), next_seq=1, number=2, known=1)
    for name, fields in zip((KEY.steps, KEY.record), first, strict=True):
        await redis.delete(name)
        await redis.hset(name, mapping=fields)
    return claimed


async def behind_of(call) -> int:
    with pytest.raises(StepsBehind) as caught:
        await call
    return caught.value.stands


async def test_a_checkpoint_says_that_a_later_version_of_a_step_was_lost(store, redis, overwritten):
    assert await behind_of(store.checkpoint(overwritten, step(1, "1-0"), next_seq=1, number=3, known=2)) == 1
    assert await redis.hkeys(KEY.steps) == [b"0", b"history"]


async def test_a_suspension_says_it_of_steps_too(store, overwritten):
    assert await behind_of(store.suspend(overwritten, "go", None, 1, C, known=2)) == 1


async def test_the_end_of_the_turn_says_it_of_steps_too(store, overwritten):
    assert await behind_of(store.settle(overwritten, TurnState.FAILED, 1, [C], {}, known=2)) == 1
    assert (await store.existing(KEY)).status is TurnState.RUNNING


async def test_a_checkpoint_that_is_written_again_closes_the_gap(store, redis, overwritten):
    await store.checkpoint(overwritten, step(0, "1-0"), number=2)
    await store.checkpoint(overwritten, step(1, "1-0"), next_seq=1, number=3, known=2)
    await store.checkpoint(overwritten, step(0, "1-0"), number=2)  # repeated late: it takes nothing back
    assert await redis.hget(KEY.record, "checkpoints") == b"3"


async def test_the_next_attempt_goes_on_counting(store, redis, overwritten):
    await lose_lease(store)
    assert (await claim(store, KEY, "host/2/bbbbbb")).checkpoints == 1
