"""settle: the one write that ends an attempt."""

import pytest

from tests.support.turns import (
    KEY,
    SESSION,
    append,
    delta,
    log_of,
    lose_lease,
    request,
    seqs_of,
    snapshot,
    step,
    submit_and_claim,
    take_over,
    types_of,
)
from turnwire.shared.errors import AttemptFenced
from turnwire.shared.events import ERROR, RUN_COMPLETED, RUN_FAILED, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import TurnError
from turnwire.shared.usage import Usage

COMPLETED = encode_event(RUN_COMPLETED, {"sessionId": "demo"})
FAILED = [encode_event(ERROR, {"message": "no"}), encode_event(RUN_FAILED, {"message": "no"})]
ERROR_FIELDS = {"error_code": "oops", "error_message": "no", "retryable": 1}


async def test_c1_a_completed_turn_has_its_text_its_usage_and_one_terminal_event(store, redis):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, delta("a"))
    fields = {"final_text": "a", "persist": "done", "model_calls": 1, "tokens_in": 3}
    assert (await store.settle(claimed, TurnState.COMPLETED, 2, [COMPLETED], fields)).woken == []
    record = await store.record(KEY)
    assert record.terminal
    assert (record.status, record.final_text, record.persist) == (TurnState.COMPLETED, "a", "done")
    assert record.usage == Usage(1, 3, None, None, cached_tokens=None, reasoning_tokens=None)
    assert record.completed_at >= record.started_at
    log = await log_of(store)
    assert types_of(log)[-1] == RUN_COMPLETED
    assert seqs_of(log) == [0, 1, 2]
    assert (await store.read(KEY, None))[-1].terminal
    assert not await redis.exists(KEY.lease)


async def test_a_failed_turn_says_why(store):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.FAILED, 1, FAILED, ERROR_FIELDS)
    record = await store.record(KEY)
    assert (record.status, record.error) == (TurnState.FAILED, TurnError("oops", "no", retryable=True))
    assert types_of(await log_of(store)) == ["session.run.started", "error", "session.run.failed"]


async def test_readers_are_sent_the_terminal_events(store, published):
    claimed = await submit_and_claim(store)
    next_message = await published(KEY.events)
    await store.settle(claimed, TurnState.FAILED, 1, FAILED, ERROR_FIELDS)
    assert await next_message() == b"1-1\n" + FAILED[0] + b"\n" + FAILED[1]


async def test_every_key_of_the_turn_expires_after_the_retention_and_not_before(store, redis, settings):
    claimed = await submit_and_claim(store)
    await store.checkpoint(claimed, step(0, "1-0"))
    for name in (KEY.record, KEY.events, KEY.steps, SESSION.record, SESSION.turns):
        assert await redis.pttl(name) == -1
    await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {})
    for name in (KEY.record, KEY.events, KEY.steps, SESSION.record, SESSION.turns):
        assert settings.retention_ms - 5000 < await redis.pttl(name) <= settings.retention_ms


async def test_a_session_with_another_open_turn_stays(store, redis):
    claimed = await submit_and_claim(store)
    await store.submit(SESSION.turn(1), request("next"))
    assert (await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {})).woken == [1]
    assert await redis.pttl(SESSION.record) == -1
    assert await redis.pttl(SESSION.turns) == -1
    assert await redis.pttl(KEY.record) > 0


async def test_a_new_turn_keeps_the_session_of_an_ended_one(store, redis):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {})
    await store.submit(SESSION.turn(1), request("next"))
    assert await redis.pttl(SESSION.record) == -1
    assert await redis.pttl(SESSION.turns) == -1


async def test_it_names_the_lowest_open_index(store):
    claimed = await submit_and_claim(store)
    await store.submit(SESSION.turn(5), request("later"))
    await store.submit(SESSION.turn(2), request("next"))
    assert (await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {})).woken == [2]


async def test_repeating_a_settle_changes_nothing_and_names_the_same_next_turn(store, twice):
    claimed = await submit_and_claim(store)
    await store.submit(SESSION.turn(1), request("next"))
    settle = lambda: store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {"final_text": "a"})  # noqa: E731
    assert (await twice(settle)).woken == [1]
    assert types_of(await log_of(store)) == ["session.run.started", RUN_COMPLETED]


async def test_c80_a_stale_attempt_settles_nothing(store, redis):
    stale = await submit_and_claim(store)
    await take_over(store)
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await store.settle(stale, TurnState.COMPLETED, 1, [COMPLETED], {"final_text": "stale"})
    assert await snapshot(redis) == before


async def test_a_replaced_lease_settles_nothing(store, redis):
    claimed = await submit_and_claim(store)
    await redis.set(KEY.lease, "somebody#1", px=5000)
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {})
    assert await snapshot(redis) == before


async def test_a_lapsed_lease_that_nobody_took_still_settles(store):
    claimed = await submit_and_claim(store)
    await lose_lease(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {})
    assert (await store.record(KEY)).status is TurnState.COMPLETED


async def test_another_outcome_does_not_replace_the_first(store, redis):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {})
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await store.settle(claimed, TurnState.FAILED, 1, FAILED, ERROR_FIELDS)
    assert await snapshot(redis) == before


async def test_a_settle_repeated_after_the_turn_was_asked_again_changes_nothing(store, redis):
    """The old attempt's number is still the turn's until the next claim: its late repeat must not end the new run."""
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.FAILED, 1, FAILED, ERROR_FIELDS)
    await store.submit(KEY, request())
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await store.settle(claimed, TurnState.FAILED, 1, FAILED, ERROR_FIELDS)
    assert await snapshot(redis) == before


async def test_an_erased_turn_is_not_settled(store, redis):
    claimed = await submit_and_claim(store)
    await redis.flushall()
    with pytest.raises(AttemptFenced):
        await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {})
    assert await redis.keys("*") == []


async def test_a_log_erased_alone_is_refused_without_a_trace(store, redis):
    claimed = await submit_and_claim(store)
    await redis.delete(KEY.events)
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {})
    assert await snapshot(redis) == before


async def test_a_server_that_forgot_the_script_gets_it_again(store, redis):
    claimed = await submit_and_claim(store)
    await redis.script_flush()
    await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {})
    assert (await store.record(KEY)).status is TurnState.COMPLETED


async def test_the_last_step_is_stored_with_the_end(store, redis, twice):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, delta("a"))
    last = step(0, "1-1", "turn", "a")
    await twice(lambda: store.settle(claimed, TurnState.COMPLETED, 2, [COMPLETED], {"final_text": "a"}, step=last))
    assert await store.steps(KEY) == {0: last}
    assert await redis.pttl(KEY.steps) > 0


async def test_the_last_step_of_an_attempt_that_has_lost_its_turn_is_not_stored(store):
    claimed = await submit_and_claim(store)
    await take_over(store)
    with pytest.raises(AttemptFenced):
        await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {"final_text": "a"}, step=step(0, "1-0"))
    assert await store.steps(KEY) == {}
