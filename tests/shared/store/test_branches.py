"""A turn follows its parent: whom it waits for, what wakes it, and what its history is."""

from typing import Any

import pytest

from tests.support.turns import KEY, SESSION, claim, lose_lease, request, snapshot
from turnwire.shared.errors import InputMismatch, SessionBusy, UnknownParent
from turnwire.shared.events import RUN_COMPLETED, RUN_FAILED, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Waits
from turnwire.shared.request import NO_PARENT
from turnwire.shared.store.ancestry import MOST_PAGES

WORKER = "host/1/a"


async def ask(store, index, parent=None, **fields):
    return await store.submit(SESSION.turn(index), request(f"q{index}", parent=parent, **fields))


async def end(store, index, state=TurnState.COMPLETED):
    """Run the turn until it has ended. Returns the turns that this wakes."""
    claimed = await claim(store, SESSION.turn(index))
    return await settle(store, claimed, state)


async def settle(store, claimed, state=TurnState.COMPLETED):
    fields: dict[str, Any]
    if state is TurnState.COMPLETED:
        events, fields = [encode_event(RUN_COMPLETED, {})], {"final_text": f"a{claimed.key.index}"}
    else:
        events, fields = [encode_event(RUN_FAILED, {})], {"error_code": "x", "error_message": "", "retryable": 0}
    return (await store.settle(claimed, state, claimed.next_seq, events, fields)).woken


async def said(store, index, parent=None, state=TurnState.COMPLETED):
    await ask(store, index, parent)
    return await end(store, index, state)


async def waits(store, index):
    found = await store.claim(SESSION.turn(index), WORKER)
    return found.index if isinstance(found, Waits) else None


async def parent_of(store, index):
    return (await store.existing(SESSION.turn(index))).parent


async def history_of(store, index, limit=50):
    parent = await parent_of(store, index)
    return [record.turn_index for record in await store.history(SESSION.turn(index), limit, parent)]


# -- the parent


@pytest.mark.parametrize("parent", [0, 1, 5, 2**31 - 1])
async def test_a_parent_that_is_not_an_earlier_turn_of_the_session_is_refused(store, redis, parent):
    await said(store, 5)
    before = await snapshot(redis)
    with pytest.raises(UnknownParent, match=str(parent)):
        await ask(store, 0, parent)
    assert await snapshot(redis) == before


async def test_a_parent_whose_retention_is_over_is_refused_but_a_turn_that_has_it_can_be_asked_again(store, redis):
    await said(store, 0)
    await said(store, 1, 0, TurnState.FAILED)
    await redis.delete(KEY.record)
    with pytest.raises(UnknownParent):
        await ask(store, 2, 0)
    assert (await ask(store, 1, 0)).verdict == "reopened"


async def test_the_parent_belongs_to_the_input_only_if_it_is_given(store):
    await ask(store, 0)
    with pytest.raises(InputMismatch):
        await ask(store, 0, NO_PARENT)
    assert (await ask(store, 0)).verdict == "attached"


async def test_the_first_attempt_decides_the_default_parent_once_and_for_all(store):
    await said(store, 0)
    await said(store, 1, state=TurnState.FAILED)
    await ask(store, 2)
    assert await parent_of(store, 2) is None, "it has not run yet"
    claimed = await claim(store, SESSION.turn(2))
    assert claimed.record.parent == 0, "turn 1 has no answer"
    await ask(store, 1)
    await settle(store, await claim(store, SESSION.turn(1)))
    await lose_lease(store, SESSION.turn(2))
    again = await claim(store, SESSION.turn(2))
    assert (again.attempt, again.record.parent) == (2, 0)


async def test_a_turn_without_an_earlier_one_has_no_parent(store, redis):
    await said(store, 0)
    assert await parent_of(store, 0) == NO_PARENT
    await redis.delete(KEY.record)
    await said(store, 7)
    assert await parent_of(store, 7) == NO_PARENT


async def test_many_turns_without_an_answer_are_passed_over(store):
    await said(store, 3)
    for index in range(4, 115):
        await store.submit(SESSION.turn(index), request())
        await store.cancel(SESSION.turn(index))
    await said(store, 120)
    assert await parent_of(store, 120) == 3


# -- the history


async def test_the_history_follows_the_parents(store):
    for index, parent in enumerate([None, None, 0, 2, None, 1, NO_PARENT]):
        await said(store, index, parent)
    assert [await history_of(store, index) for index in range(7)] == [
        [], [0], [0], [0, 2], [0, 2, 3], [0, 1], []
    ]  # fmt: skip
    assert await history_of(store, 4, limit=2) == [2, 3]


async def test_the_history_of_a_turn_is_read_across_many_others(store):
    """A page holds as many turns as the history may have."""
    await said(store, 0)
    for index in range(1, 8):
        await said(store, index, 0)
    await said(store, 8, 1)
    await said(store, 9, 8)
    assert await history_of(store, 9, limit=3) == [0, 1, 8]
    assert await history_of(store, 9, limit=2) == [1, 8]


async def test_a_parent_that_failed_is_passed_over(store):
    await said(store, 0)
    await said(store, 1, 0, TurnState.FAILED)
    await said(store, 2, 1)
    records = await store.history(SESSION.turn(2), 50, 1)
    assert [(record.turn_index, record.status) for record in records] == [
        (0, TurnState.COMPLETED), (1, TurnState.FAILED)
    ]  # fmt: skip


async def test_the_history_ends_where_the_retention_of_a_parent_is_over(store, redis):
    for index in range(4):
        await said(store, index)
    await redis.delete(SESSION.turn(1).record)
    assert await history_of(store, 3) == [2]


async def test_records_of_an_older_version_follow_all_that_was_completed_before(store, redis):
    await said(store, 0)
    await said(store, 1, state=TurnState.FAILED)
    await said(store, 2)
    await said(store, 3)
    for index in range(3):
        await redis.hdel(SESSION.turn(index).record, "parent")
    assert await history_of(store, 3) == [0, 2]


async def test_a_search_among_very_many_branches_ends(store):
    await said(store, 0)
    for index in range(1, MOST_PAGES + 5):
        await said(store, index, 0 if index % 2 else index - 2 if index > 2 else 0)
    assert len(await history_of(store, MOST_PAGES + 4, limit=1)) == 1


# -- the order


async def test_a_turn_waits_for_its_own_branch_only(store):
    await said(store, 0)
    await ask(store, 1)
    running = await claim(store, SESSION.turn(1))
    await ask(store, 2, 0)
    assert await waits(store, 2) is None, "it is beside turn 1"
    await ask(store, 3, 1)
    assert await waits(store, 3) == 1
    await ask(store, 4)
    assert await waits(store, 4) == 1, "without a parent, it waits for all earlier turns"
    assert await settle(store, running) == [2, 3]


async def test_the_end_of_a_turn_wakes_everybody_who_follows_it(store, redis):
    await said(store, 0)
    await ask(store, 1)  # of another branch: it stays open
    await claim(store, SESSION.turn(1))
    await ask(store, 2, 0)
    second = await claim(store, SESSION.turn(2))
    for index in (3, 4):
        await ask(store, index, 2)
        assert [await waits(store, index) for _ in range(2)] == [2, 2]
    assert (await store.waits_for(SESSION.turn(3))) == SESSION.turn(2)
    assert await settle(store, second) == [1, 3, 4]
    assert await store.waits_for(SESSION.turn(3)) is None
    assert await waits(store, 3) is await waits(store, 4) is None
    assert await redis.hget(SESSION.turn(3).record, "ahead") is None


async def test_whoever_takes_the_job_of_an_ended_turn_learns_whom_it_wakes(store):
    await ask(store, 0)
    first = await claim(store)
    await ask(store, 1, 0)
    await waits(store, 1)
    await settle(store, first)
    assert (await store.claim(KEY, WORKER)).woken == [1]


async def test_a_turn_whose_parent_was_cancelled_in_the_queue_waits_for_the_turns_before_that(store):
    await ask(store, 0)
    first = await claim(store)
    await ask(store, 1)
    await ask(store, 2, 1)
    assert await waits(store, 2) == 1
    assert (await store.cancel(SESSION.turn(1))).woken == [0, 2]
    assert await waits(store, 2) == 0
    assert await settle(store, first) == [2]
    assert await waits(store, 2) is None
    assert await history_of(store, 2) == [0, 1]


async def test_a_turn_follows_the_parent_of_a_parent_that_failed(store):
    await said(store, 0, state=TurnState.FAILED)
    await said(store, 1, 0, TurnState.FAILED)
    await ask(store, 2, 1)
    assert (await ask(store, 0)).verdict == "reopened"
    assert await waits(store, 2) == 0


async def test_reject_looks_at_the_branch_alone(store):
    await said(store, 0)
    await ask(store, 1)
    assert (await ask(store, 2, 0, on_busy="reject")).verdict == "created"
    with pytest.raises(SessionBusy):
        await ask(store, 3, 1, on_busy="reject")
    with pytest.raises(SessionBusy):
        await ask(store, 3, on_busy="reject")


async def test_interrupt_cancels_the_parent(store):
    await said(store, 0)
    await ask(store, 1)
    await claim(store, SESSION.turn(1))
    await ask(store, 2, 1, on_busy="interrupt")
    assert await store.claim(SESSION.turn(2), WORKER) == Waits(1, interrupt=True)
    await ask(store, 3, 0, on_busy="interrupt")
    assert await waits(store, 3) is None


async def test_the_answer_of_a_turn_that_ran_beside_another_one_and_that_other_one_are_both_followed(store):
    await ask(store, 0)
    first = await claim(store)
    await ask(store, 1, on_busy="concurrent")
    await end(store, 1)
    await settle(store, first)
    await said(store, 2)
    assert await history_of(store, 2) == [0, 1]


async def commands_of_a_claim(store, redis, index):
    await ask(store, index)
    before = await redis.info("commandstats")
    claimed = await claim(store, SESSION.turn(index))
    after = await redis.info("commandstats")
    await settle(store, claimed)
    calls = [(name, stats["calls"] - before.get(name, {"calls": 0})["calls"]) for name, stats in after.items()]
    return sum(count for name, count in calls if name != "cmdstat_info")


async def test_a_turn_without_a_parent_costs_two_reads_more(store, redis):
    """Of the turn before it: whether it has an answer, and when it ended. The first turn of a session costs none."""
    await commands_of_a_claim(store, redis, 0)
    await store.erase(SESSION)
    first, second, third = [await commands_of_a_claim(store, redis, index) for index in range(3)]
    assert second == third == first + 2
    assert [await parent_of(store, index) for index in range(3)] == [NO_PARENT, 0, 1]
