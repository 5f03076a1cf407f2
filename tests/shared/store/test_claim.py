"""claim: who may run a turn, and what the claim says and writes."""

import pytest

from tests.support.turns import (
    KEY,
    OTHER_WORKER,
    SESSION,
    WORKER,
    claim,
    log_of,
    lose_lease,
    request,
    seqs_of,
    snapshot,
    submit_and_claim,
)
from turnwire.shared.errors import InputMismatch
from turnwire.shared.events import RUN_COMPLETED, encode_event
from turnwire.shared.keys import session_key
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Claimed, Held, Waits

COMPLETED = encode_event(RUN_COMPLETED, {})


async def test_the_first_claim_starts_the_log_and_returns_the_request(store, redis, settings):
    await store.submit(KEY, request("hi", project="legal", user="u1", metadata={"a": [1]}))
    claimed = await claim(store)
    assert (claimed.attempt, claimed.next_seq, claimed.steps) == (1, 1, {})
    assert claimed.record.status is TurnState.RUNNING
    assert (claimed.record.message, claimed.record.project, claimed.record.user) == ("hi", "legal", "u1")
    assert claimed.record.metadata == {"a": [1]}
    assert claimed.record.started_at == pytest.approx(claimed.at_ms, abs=50)
    started = {"sessionId": "demo", "tenantId": "default", "turnIndex": 0, "attempt": 1}
    assert await log_of(store) == [("1-0", "session.run.started", started)]
    assert (await store.read(KEY, None))[0].event == claimed.first_event
    assert (await redis.get(KEY.lease)).decode() == claimed.token == f"{WORKER}#1"
    assert 0 < await redis.pttl(KEY.lease) <= settings.lease_ms


async def test_the_started_event_names_the_tenant_and_the_plain_session(store):
    key = session_key("demo", "acme").turn(0)
    await submit_and_claim(store, key)
    [(_, _, data)] = await log_of(store, key)
    assert (data["sessionId"], data["tenantId"]) == ("demo", "acme")


async def test_readers_are_sent_the_claims_event(store, published):
    await store.submit(KEY, request())
    next_message = await published(KEY.events)
    claimed = await claim(store)
    assert await next_message() == b"1-0\n" + claimed.first_event


async def test_a_repeated_claim_of_the_same_worker_is_the_same_attempt(store, twice):
    await store.submit(KEY, request())
    claimed = await twice(lambda: store.claim(KEY, WORKER))
    assert isinstance(claimed, Claimed)
    assert (claimed.attempt, claimed.next_seq) == (1, 1)
    assert seqs_of(await log_of(store)) == [0]


async def test_c17_a_turn_whose_lease_another_worker_holds_is_held(store, redis, settings):
    await submit_and_claim(store)
    before = await snapshot(redis)
    held = await store.claim(KEY, OTHER_WORKER)
    assert isinstance(held, Held)
    assert 0 < held.ms <= settings.lease_ms
    assert await snapshot(redis) == before


async def test_c5_two_workers_that_claim_at_once_get_one_attempt(store):
    await store.submit(KEY, request())
    first, second = await store.claim(KEY, WORKER), await store.claim(KEY, OTHER_WORKER)
    assert isinstance(first, Claimed)
    assert isinstance(second, Held)


async def test_c18_after_the_lease_ended_another_worker_takes_over_and_holds_it(store, redis):
    await submit_and_claim(store)
    await lose_lease(store)
    claimed = await claim(store, worker=OTHER_WORKER)
    assert claimed.attempt == 2
    assert (await redis.get(KEY.lease)).decode() == f"{OTHER_WORKER}#2"


async def test_a_turn_waits_for_a_lower_open_index(store, redis):
    await store.submit(KEY, request())
    await store.submit(SESSION.turn(1), request("second"))
    before = await snapshot(redis)
    assert await store.claim(SESSION.turn(1), WORKER) == Waits(0, interrupt=False)
    assert await snapshot(redis) == before


async def test_a_concurrent_turn_waits_for_nobody(store):
    await store.submit(KEY, request())
    claimed = await submit_and_claim(store, SESSION.turn(1), on_busy="concurrent")
    assert claimed.attempt == 1


async def test_a_turn_goes_on_when_the_lower_one_has_ended(store):
    first = await submit_and_claim(store)
    await store.submit(SESSION.turn(1), request("second"))
    await store.settle(first, TurnState.COMPLETED, 1, [COMPLETED], {})
    assert isinstance(await store.claim(SESSION.turn(1), WORKER), Claimed)


async def test_a_turn_does_not_wait_for_a_higher_index(store):
    await store.submit(SESSION.turn(7), request("later"))
    assert isinstance(await store.claim(SESSION.turn(7), WORKER), Claimed)
    await store.submit(KEY, request())
    assert isinstance(await store.claim(KEY, WORKER), Claimed)


async def test_an_ended_turn_says_which_one_is_next(store, redis):
    first = await submit_and_claim(store)
    await store.submit(SESSION.turn(3), request("later"))
    await store.settle(first, TurnState.COMPLETED, 1, [COMPLETED], {})
    before = await snapshot(redis)
    assert (await store.claim(KEY, OTHER_WORKER)).woken == [3]
    assert await snapshot(redis) == before


async def test_the_last_turn_of_a_session_has_no_next(store):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {})
    assert (await store.claim(KEY, OTHER_WORKER)).woken == []


async def test_a_turn_that_does_not_exist_is_not_created(store, redis):
    assert (await store.claim(KEY, WORKER)).woken == []
    assert await redis.keys("*") == []


async def test_a_server_that_forgot_the_script_gets_it_again(store, redis):
    await store.submit(KEY, request())
    await redis.script_flush()
    assert (await claim(store)).attempt == 1
    assert seqs_of(await log_of(store)) == [0]


async def test_c15_another_input_is_a_mismatch_also_while_the_turn_runs(store, redis):
    await submit_and_claim(store)
    before = await snapshot(redis)
    with pytest.raises(InputMismatch):
        await store.submit(KEY, request("another"))
    assert await snapshot(redis) == before


async def test_the_lease_is_taken_with_set_nx_px(store, redis, settings):
    """An operator who watches MONITOR sees the command that the documentation names."""
    await store.submit(KEY, request())
    async with redis.monitor() as monitor:
        await store.claim(KEY, WORKER)
        async for command in monitor.listen():
            if KEY.lease in command["command"] and command["command"].startswith("SET "):
                break
    assert command["command"] == f"SET {KEY.lease} {WORKER}#1 NX PX {settings.lease_ms}"
