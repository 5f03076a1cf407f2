"""A submit that the courier repeats because its reply was lost: it finds the turn as it stands by then."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.faults import one_lost_reply
from tests.support.turns import KEY, SESSION, claim, request
from turnwire.shared import keys
from turnwire.shared.errors import LeaseHeld
from turnwire.shared.events import RUN_FAILED, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store import turns

Work = Callable[[], Awaitable[Any]]


@pytest.fixture
def repeated_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], None]:
    """Let the next submit run once more after some work, and return only its second reply."""
    script = turns.SUBMIT

    def after(work: Work) -> None:
        async def both(*call: Any) -> Any:
            monkeypatch.setattr(turns, "SUBMIT", script)
            await script(*call)
            await work()
            return await script(*call)

        monkeypatch.setattr(turns, "SUBMIT", both)

    return after


async def fail(store) -> None:
    claimed = await claim(store, KEY)
    fields = {"error_code": "x", "error_message": "m", "retryable": 1}
    await store.settle(claimed, TurnState.FAILED, claimed.next_seq, [encode_event(RUN_FAILED, {})], fields)


async def test_a_turn_that_has_failed_meanwhile_does_not_run_again(store, queue, repeated_after):
    repeated_after(lambda: fail(store))
    submitted = await store.submit(KEY, request(), job=queue.planned(KEY.run_id))
    assert (submitted.verdict, submitted.attempt) == ("running", 1)
    assert (await store.record(KEY)).status is TurnState.FAILED


async def test_a_turn_that_was_cancelled_meanwhile_stays_cancelled(store, queue, repeated_after):
    repeated_after(lambda: store.cancel(KEY))
    await store.submit(KEY, request(), job=queue.planned(KEY.run_id))
    assert (await store.record(KEY)).status is TurnState.CANCELLED


async def test_a_turn_that_was_asked_again_and_has_failed_meanwhile_does_not_run_again(store, queue, repeated_after):
    await store.submit(KEY, request())
    await fail(store)
    repeated_after(lambda: fail(store))
    submitted = await store.submit(KEY, request(), job=queue.planned(KEY.run_id))
    assert (submitted.verdict, submitted.attempt) == ("running", 2)
    assert (await store.submit(KEY, request())).verdict == "reopened", "another request asks it again"


@pytest.mark.parametrize("is_planned", [True, False])
async def test_the_next_turn_of_a_session_is_not_made_twice(store, queue, redis, is_planned):
    job = queue.planned(KEY.run_id) if is_planned else None
    with one_lost_reply(redis, resent=True):
        submitted = await store.submit_next(KEY, request(), job=job)
    assert (submitted.verdict, submitted.key) == ("attached", KEY)
    assert await redis.zcard(SESSION.turns) == 1
    assert await redis.zcard(keys.QUEUE) == int(is_planned)


async def test_a_turn_is_not_refused_because_of_itself(store, redis):
    with one_lost_reply(redis, resent=True):
        assert (await store.submit(KEY, request(on_busy="reject"))).verdict == "attached"
    with pytest.raises(LeaseHeld):
        await store.submit(KEY, request(on_busy="reject"))
