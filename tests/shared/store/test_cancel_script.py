"""cancel: at once where nobody runs the turn, a request where somebody does."""

import pytest

from tests.support.turns import (
    KEY,
    OTHER_WORKER,
    SESSION,
    append,
    claim,
    delta,
    log_of,
    lose_lease,
    request,
    seqs_of,
    snapshot,
    submit_and_claim,
    types_of,
)
from turnwire.shared.channels import cancels_channel
from turnwire.shared.errors import NotFound
from turnwire.shared.events import RUN_COMPLETED, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.replies import Cancelled, CancelVerdict


async def test_a_queued_turn_is_cancelled_at_once(store):
    await store.submit(KEY, request())
    assert await store.cancel(KEY, 'no "more"') == Cancelled(CancelVerdict.CANCELLED)
    record = await store.record(KEY)
    assert (record.status, record.error.code, record.error.retryable) == (TurnState.CANCELLED, "cancelled", False)
    log = await log_of(store)
    assert types_of(log) == ["session.run.started", "session.run.failed"]
    assert log[-1][2] == {"sessionId": "demo", "message": 'the turn was cancelled: no "more"', "code": "cancelled"}


async def test_the_worker_of_a_running_turn_is_told_and_nothing_else_changes(store, published):
    await submit_and_claim(store)
    next_message = await published(cancels_channel(""))
    assert await store.cancel(KEY) == Cancelled(CancelVerdict.REQUESTED)
    assert await next_message() == KEY.run_id.encode()
    assert (await store.record(KEY)).status is TurnState.RUNNING


async def test_a_running_turn_whose_worker_is_dead_is_cancelled_at_once(store):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, delta("half"))
    await lose_lease(store)
    assert await store.cancel(KEY) == Cancelled(CancelVerdict.CANCELLED)
    log = await log_of(store)
    assert types_of(log) == ["session.run.started", "session.run.resumed", "session.run.failed"]
    assert log[1][2]["reason"] == "cancelled"
    assert seqs_of(log) == [0, 1, 2]


async def test_a_turn_whose_worker_died_after_the_request_is_cancelled_by_the_next_claim(store):
    await submit_and_claim(store)
    await store.cancel(KEY, "enough")
    await lose_lease(store)
    await store.claim(KEY, OTHER_WORKER)
    record = await store.record(KEY)
    assert (record.status, record.error.message) == (TurnState.CANCELLED, "the turn was cancelled: enough")
    assert types_of(await log_of(store))[-1] == "session.run.failed"


async def test_an_ended_turn_stays_as_it_ended(store, redis):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [encode_event(RUN_COMPLETED, {})], {})
    before = await snapshot(redis)
    assert await store.cancel(KEY) == Cancelled(CancelVerdict.ENDED)
    assert await snapshot(redis) == before


async def test_a_turn_that_is_not_there_is_not_found(store, redis):
    with pytest.raises(NotFound):
        await store.cancel(KEY)
    assert await redis.keys("*") == []


async def test_it_names_the_turn_whose_time_has_come(store):
    await store.submit(KEY, request())
    await store.submit(SESSION.turn(1), request("next"))
    assert await store.cancel(KEY) == Cancelled(CancelVerdict.CANCELLED, [1])


async def test_repeating_it_leaves_one_terminal_event(store, twice):
    await store.submit(KEY, request())
    assert await twice(lambda: store.cancel(KEY)) == Cancelled(CancelVerdict.ENDED)
    assert types_of(await log_of(store)).count("session.run.failed") == 1


async def test_the_first_reason_counts(store):
    await submit_and_claim(store)
    await store.cancel(KEY, "first")
    await store.cancel(KEY, "second")
    await lose_lease(store)
    await store.claim(KEY, OTHER_WORKER)
    assert (await store.record(KEY)).error.message.endswith("first")


async def test_a_cancelled_turn_that_is_asked_again_runs(store):
    await store.submit(KEY, request())
    await store.cancel(KEY)
    assert (await store.submit(KEY, request())).verdict == "reopened"
    claimed = await claim(store)
    assert claimed.attempt == 2
    assert types_of(await log_of(store)) == ["session.run.started", "session.run.resumed"]


async def test_a_server_that_forgot_the_script_gets_it_again(store, redis):
    await store.submit(KEY, request())
    await redis.script_flush()
    assert await store.cancel(KEY) == Cancelled(CancelVerdict.CANCELLED)


async def test_a_repeated_cancel_ends_the_turn_of_a_dead_worker_with_the_first_reason(store):
    await submit_and_claim(store)
    assert (await store.cancel(KEY, "enough")).verdict is CancelVerdict.REQUESTED
    await lose_lease(store)
    assert (await store.cancel(KEY, "later", repeated=True)).verdict is CancelVerdict.CANCELLED
    assert (await store.record(KEY)).error.message == "the turn was cancelled: enough"


async def test_a_repeated_cancel_does_not_touch_a_turn_that_was_asked_again(store):
    await store.submit(KEY, request())
    await store.cancel(KEY)
    await store.submit(KEY, request())
    assert (await store.cancel(KEY, repeated=True)).verdict is CancelVerdict.ENDED
    assert (await store.record(KEY)).status is TurnState.QUEUED
