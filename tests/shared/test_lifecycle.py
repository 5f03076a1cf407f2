"""The scripts implement the table of states, and nothing but it."""

from contextlib import suppress

import pytest

from tests.support.turns import KEY, OTHER_WORKER, claim, lose_lease, request, submit_and_claim
from turnwire.shared.errors import AttemptFenced
from turnwire.shared.events import RUN_COMPLETED, RUN_FAILED, encode_event
from turnwire.shared.lifecycle import TERMINAL_STATES, TRANSITIONS, Change, TurnState
from turnwire.shared.model import Claimed

COMPLETED, FAILED = encode_event(RUN_COMPLETED, {}), encode_event(RUN_FAILED, {})
IMPLEMENTED = [Change.CLAIM, Change.HANDOVER, Change.COMPLETE, Change.FAIL, Change.CANCEL, Change.ASK_AGAIN]
BY_A_HOLDER = {Change.HANDOVER, Change.COMPLETE, Change.FAIL}
REACHED = [state for state in TurnState if state is not TurnState.SUSPENDED]


def test_a_terminal_state_is_left_only_when_it_is_asked_again():
    leaving = {(state, change) for state, change in TRANSITIONS if state in TERMINAL_STATES}
    assert {change for _, change in leaving} == {Change.ASK_AGAIN}
    assert (TurnState.COMPLETED, Change.ASK_AGAIN) not in leaving


def test_every_state_is_reached_and_every_open_one_can_be_left():
    assert set(TRANSITIONS.values()) == set(TurnState)
    assert {state for state, _ in TRANSITIONS} == set(TurnState) - {TurnState.COMPLETED}


def test_what_is_not_in_the_table_is_no_state():
    assert (TurnState.COMPLETED, Change.FAIL) not in TRANSITIONS
    assert TRANSITIONS[TurnState.QUEUED, Change.CLAIM] is TurnState.RUNNING


async def bring_to(store, state: TurnState) -> Claimed | None:
    """Bring the turn into this state; returns its last attempt, as a process that holds on to it would."""
    if state is TurnState.QUEUED:
        await store.submit(KEY, request())
        return None
    claimed = await submit_and_claim(store)
    if state is TurnState.COMPLETED:
        await store.settle(claimed, state, 1, [COMPLETED], {})
    elif state is TurnState.FAILED:
        await store.settle(claimed, state, 1, [FAILED], {})
    elif state is TurnState.CANCELLED:
        await lose_lease(store)
        await store.cancel(KEY)
    return claimed


async def change_it(store, change: Change, claimed: Claimed | None, state: TurnState) -> None:
    match change:
        case Change.CLAIM:
            if state is TurnState.RUNNING:
                await lose_lease(store)
            await store.claim(KEY, OTHER_WORKER)
        case Change.CANCEL:
            if state is TurnState.RUNNING:
                await lose_lease(store)
            await store.cancel(KEY)
        case Change.ASK_AGAIN:
            await store.submit(KEY, request())
        case Change.HANDOVER if claimed:
            await store.handover(claimed)
        case Change.COMPLETE if claimed:
            await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {})
        case Change.FAIL if claimed:
            await store.settle(claimed, TurnState.FAILED, 1, [FAILED], {})
        case _:
            raise AssertionError(change)


@pytest.mark.parametrize(
    ("state", "change"),
    [
        (state, change)
        for state in REACHED
        for change in IMPLEMENTED
        if not (state is TurnState.QUEUED and change in BY_A_HOLDER)  # nobody holds what never ran
    ],
)
async def test_the_scripts_follow_the_table(store, state, change):
    claimed = await bring_to(store, state)
    if (state, change) not in TRANSITIONS:
        with suppress(AttemptFenced):  # refused, or without an effect
            await change_it(store, change, claimed, state)
    else:
        await change_it(store, change, claimed, state)
    found = (await store.record(KEY)).status
    assert found is TRANSITIONS.get((state, change), state)


async def test_a_worker_that_is_told_to_cancel_settles_as_cancelled(store):
    claimed = await submit_and_claim(store)
    await store.cancel(KEY)
    await store.settle(claimed, TurnState.CANCELLED, 1, [FAILED], {})
    assert (await store.record(KEY)).status is TurnState.CANCELLED
    await store.submit(KEY, request())
    assert (await claim(store)).attempt == 2
