"""submit: accepted once, attached to, asked again, answered again, or refused without a trace."""

import asyncio

import pytest

from tests.support.turns import (
    KEY,
    SESSION,
    append,
    delta,
    log_of,
    request,
    snapshot,
    step,
    submit_and_claim,
    submit_next,
    types_of,
)
from turnwire.shared.errors import InputMismatch, LeaseHeld, NotFound, SessionBusy, TurnLimit
from turnwire.shared.events import RUN_COMPLETED, RUN_FAILED, encode_event
from turnwire.shared.keys import DEFAULT_TENANT, SessionKey, session_key
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.turns import TurnStore

COMPLETED = encode_event(RUN_COMPLETED, {})
FAILED = encode_event(RUN_FAILED, {})


async def complete(store: TurnStore, key=KEY, **fields) -> None:
    claimed = await submit_and_claim(store, key, **fields)
    await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {"final_text": "done"})


async def fail(store: TurnStore, key=KEY) -> None:
    claimed = await submit_and_claim(store, key)
    await append(store, claimed, 1, delta("half"))
    await store.settle(claimed, TurnState.FAILED, 2, [FAILED], {"error_code": "x", "error_message": "", "retryable": 0})


async def test_a_new_turn_is_queued_with_everything_the_client_gave(store, redis):
    asked = request("hi", project="p", domain="d", model="m", user="u", metadata={"k": "é"}, traceparent="00-1")
    submitted = await store.submit(KEY, asked)
    assert (submitted.verdict, submitted.attempt) == ("created", 0)
    record = await store.record(KEY)
    assert (record.status, record.attempt, record.terminal) == (TurnState.QUEUED, 0, False)
    assert (record.message, record.project, record.domain, record.model, record.user) == ("hi", "p", "d", "m", "u")
    assert record.metadata == {"k": "é"}
    assert record.created_at == record.updated_at > 0
    assert (await redis.hget(KEY.record, "traceparent")) == b"00-1"
    assert await log_of(store) == []


async def test_a_repeated_submit_of_an_open_turn_attaches(store):
    await store.submit(KEY, request())
    assert (await store.submit(KEY, request())).verdict == "attached"


async def test_a_repeated_submit_of_a_turn_that_runs_says_so(store):
    await submit_and_claim(store)
    assert (await store.submit(KEY, request())).verdict == "running"


async def test_every_submit_of_an_open_turn_has_a_mark_of_its_own(store):
    marks = [(await store.submit(KEY, request())).mark for _ in range(5)]
    assert len(set(marks)) == 5


async def test_submitting_twice_makes_one_turn(store, redis, twice):
    submitted = await twice(lambda: store.submit(KEY, request()))
    assert submitted.verdict == "attached"
    assert await redis.zrange(SESSION.turns, 0, -1) == [b"0"]


async def test_c2_a_completed_turn_is_a_replay_and_nothing_is_written(store, redis):
    await complete(store)
    before = await snapshot(redis)
    submitted = await store.submit(KEY, request())
    assert (submitted.verdict, submitted.attempt) == ("replay", 1)
    assert submitted.completed == await store.record(KEY)
    assert await snapshot(redis) == before


@pytest.mark.parametrize(
    "other",
    [{"message": "other"}, {"model": "m"}, {"project": "p"}, {"domain": "d"}],
    ids=lambda other: next(iter(other)),
)
@pytest.mark.parametrize("state", ["queued", "completed", "failed"])
async def test_c15_c67_other_input_is_a_mismatch_in_every_state(store, redis, state, other):
    await {
        "queued": lambda: store.submit(KEY, request()),
        "completed": lambda: complete(store),
        "failed": lambda: fail(store),
    }[state]()
    before = await snapshot(redis)
    with pytest.raises(InputMismatch):
        await store.submit(KEY, request(**({"message": "hello"} | other)))
    assert await snapshot(redis) == before


async def test_user_and_metadata_are_no_other_input(store):
    await store.submit(KEY, request(user="a", metadata={"n": 1}))
    assert (await store.submit(KEY, request(user="b", metadata={"n": 2}))).verdict == "attached"


async def test_c3_a_failed_turn_is_asked_again_and_its_old_end_is_gone_at_once(store, redis):
    await fail(store)
    submitted = await store.submit(KEY, request())
    assert (submitted.verdict, submitted.attempt) == ("reopened", 1)
    assert types_of(await log_of(store)) == ["session.run.started"]
    record = await store.record(KEY)
    assert (record.status, record.error, record.final_text) == (TurnState.QUEUED, None, None)
    assert (record.started_at, record.completed_at) == (None, None)
    assert [await redis.pttl(name) for name in (KEY.record, KEY.events, SESSION.record, SESSION.turns)] == [-1] * 4


async def test_a_turn_that_is_asked_again_is_in_the_trace_of_the_new_request(store, redis):
    await store.submit(KEY, request(traceparent="00-1", tracestate="a=1"))
    await fail(store)
    await store.submit(KEY, request(traceparent="00-2"))
    assert await redis.hmget(KEY.record, "traceparent", "tracestate") == [b"00-2", None]


async def test_a_reopened_turn_keeps_what_its_steps_cover(store):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, delta("kept"), delta("gone"))
    await store.checkpoint(claimed, step(0, "1-1"))
    await store.settle(claimed, TurnState.FAILED, 3, [FAILED], {})
    await store.submit(KEY, request())
    assert [entry[0] for entry in await log_of(store)] == ["1-0", "1-1"]
    assert (await submit_and_claim(store)).steps.keys() == {0}


async def test_what_a_reopened_turn_was_sent_stays_as_long_as_it_is_open(store, redis):
    """The retention of its first end went on: a signal of a turn that waited longer was lost."""
    claimed = await submit_and_claim(store)
    await store.signal(KEY, "approval", b"1")
    await store.settle(claimed, TurnState.FAILED, 1, [FAILED], {"error_code": "x", "error_message": "", "retryable": 0})
    await store.submit(KEY, request())
    assert await redis.pttl(KEY.signals) == -1


async def test_reopening_twice_is_one_reopening(store, twice):
    await fail(store)
    assert (await twice(lambda: store.submit(KEY, request()))).verdict == "attached"
    assert types_of(await log_of(store)) == ["session.run.started"]


async def test_reject_refuses_to_attach(store, redis):
    await store.submit(KEY, request())
    before = await snapshot(redis)
    with pytest.raises(LeaseHeld) as refused:
        await store.submit(KEY, request(on_busy="reject"))
    assert refused.value.retryable
    assert await snapshot(redis) == before


async def test_reject_refuses_to_wait_for_another_turn(store, redis):
    await store.submit(KEY, request())
    before = await snapshot(redis)
    with pytest.raises(SessionBusy):
        await store.submit(SESSION.turn(1), request(on_busy="reject"))
    assert await snapshot(redis) == before


async def test_reject_is_fine_when_nothing_is_open(store):
    await complete(store)
    assert (await store.submit(SESSION.turn(1), request(on_busy="reject"))).verdict == "created"


async def test_a_session_takes_so_many_turns_and_no_more(redis, settings):
    import msgspec

    store = TurnStore(redis, msgspec.structs.replace(settings, max_turns_per_session=2))
    await store.submit(SESSION.turn(0), request())
    await store.submit(SESSION.turn(1), request())
    before = await snapshot(redis)
    with pytest.raises(TurnLimit):
        await store.submit(SESSION.turn(2), request())
    assert await snapshot(redis) == before
    assert (await store.submit(SESSION.turn(1), request())).verdict == "attached"


async def test_a_session_of_another_tenant_is_not_found(store, redis):
    """No tenant's name can forge it today; the record says whose the session is all the same."""
    await store.submit(SessionKey("acme", "s").turn(0), request())
    forged = SessionKey(DEFAULT_TENANT, "acme~s").turn(0)
    before = await snapshot(redis)
    with pytest.raises(NotFound):
        await store.submit(forged, request())
    assert await snapshot(redis) == before


async def test_two_tenants_may_have_a_session_of_the_same_name(store):
    await store.submit(session_key("s", "acme").turn(0), request("one"))
    await store.submit(session_key("s", "umbrella").turn(0), request("two"))
    await store.submit(session_key("s").turn(0), request("three"))
    messages = [
        (await store.record(session_key("s", tenant).turn(0))).message for tenant in ("acme", "umbrella", "default")
    ]
    assert messages == ["one", "two", "three"]


async def test_the_next_index_follows_the_highest_one_so_far(store):
    assert (await submit_next(store, SESSION, request("a"))).key.index == 0
    assert (await submit_next(store, SESSION, request("b"))).key.index == 1
    await store.submit(SESSION.turn(7), request("c"))
    assert (await submit_next(store, SESSION, request("d"))).key.index == 8
    await store.submit(SESSION.turn(3), request("e"))
    assert (await submit_next(store, SESSION, request("f"))).key.index == 9


async def test_many_at_once_get_an_index_each(store):
    submitted = await asyncio.gather(*(submit_next(store, SESSION, request(f"m{n}")) for n in range(20)))
    assert sorted(one.key.index for one in submitted) == list(range(20))


async def test_an_idempotency_key_gives_the_same_index_again(store):
    first = await submit_next(store, SESSION, request("a"), "key-1")
    await submit_next(store, SESSION, request("b"))
    again = await submit_next(store, SESSION, request("a"), "key-1")
    assert (again.key, again.verdict) == (first.key, "attached")


async def test_many_at_once_with_one_idempotency_key_are_one_turn(store, redis):
    submitted = await asyncio.gather(*(submit_next(store, SESSION, request("a"), "key-1") for _ in range(10)))
    assert {one.key.index for one in submitted} == {0}
    assert await redis.zcard(SESSION.turns) == 1


async def test_an_idempotency_key_with_other_input_is_a_mismatch(store, redis):
    await submit_next(store, SESSION, request("a"), "key-1")
    before = await snapshot(redis)
    with pytest.raises(InputMismatch):
        await submit_next(store, SESSION, request("b"), "key-1")
    assert await snapshot(redis) == before


async def test_an_idempotency_key_belongs_to_its_session(store):
    await submit_next(store, SESSION, request("a"), "key-1")
    other = await submit_next(store, session_key("other"), request("b"), "key-1")
    assert (other.verdict, other.key.index) == ("created", 0)


async def test_a_keyed_submit_whose_reply_was_lost_is_one_turn(store, redis, twice):
    await twice(lambda: submit_next(store, SESSION, request("a"), "key-1"))
    assert await redis.zcard(SESSION.turns) == 1


async def test_a_server_that_forgot_the_script_gets_it_again(store, redis):
    await redis.script_flush()
    assert (await store.submit(KEY, request())).verdict == "created"
