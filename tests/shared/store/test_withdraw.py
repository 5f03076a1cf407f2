"""withdraw: the queue refused a turn that was written already."""

from tests.support.turns import (
    KEY,
    SESSION,
    WORKER,
    append,
    claim,
    delta,
    log_of,
    request,
    seqs_of,
    snapshot,
    submit_and_claim,
    submit_next,
    types_of,
)
from turnwire.shared.events import ERROR, RUN_FAILED, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Waits

ENDING = [encode_event(ERROR, {"code": "queue_full"}), encode_event(RUN_FAILED, {"code": "queue_full"})]


async def reopened(store):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, delta("half"))
    await store.settle(claimed, TurnState.FAILED, 2, ENDING, {"error_code": "x", "error_message": "", "retryable": 0})
    return await store.submit(KEY, request())


async def test_a_new_turn_disappears(store, redis):
    submitted = await store.submit(KEY, request())
    assert await store.withdraw(submitted, ENDING) is not None
    assert await store.record(KEY) is None
    assert await store.records(SESSION) == []
    assert await redis.exists(SESSION.open, KEY.events) == 0


async def test_a_new_turn_that_disappeared_can_be_asked_again(store):
    await store.withdraw(await store.submit(KEY, request()), ENDING)
    assert (await store.submit(KEY, request("other input"))).verdict == "created"


async def test_a_keyed_turn_that_disappeared_can_be_asked_again_with_its_key(store):
    first = await submit_next(store, SESSION, request(), "key-1")
    await store.withdraw(first, ENDING)
    again = await submit_next(store, SESSION, request(), "key-1")
    assert (again.verdict, again.key) == ("created", first.key)


async def test_a_reopened_turn_fails_again_with_one_terminal_event(store):
    submitted = await reopened(store)
    assert await store.withdraw(submitted, ENDING) is not None
    record = await store.record(KEY)
    assert (record.status, record.error.code, record.error.retryable) == (TurnState.FAILED, "queue_full", True)
    log = await log_of(store)
    assert types_of(log) == ["session.run.started", "error", "session.run.failed"]
    assert seqs_of(log) == [0, 1, 2]


async def test_readers_are_sent_the_end_of_a_reopened_turn(store, published):
    submitted = await reopened(store)
    next_message = await published(KEY.events)
    await store.withdraw(submitted, ENDING)
    assert await next_message() == b"2-1\n" + ENDING[0] + b"\n" + ENDING[1]


async def test_a_turn_that_failed_so_can_be_asked_again_and_run(store):
    await store.withdraw(await reopened(store), ENDING)
    assert (await store.submit(KEY, request())).verdict == "reopened"
    assert (await claim(store)).attempt == 3
    assert seqs_of(await log_of(store)) == [0, 1]


async def test_a_turn_that_somebody_else_asked_for_meanwhile_stays(store, redis):
    submitted = await store.submit(KEY, request())
    await store.submit(KEY, request())
    before = await snapshot(redis)
    assert await store.withdraw(submitted, ENDING) is None
    assert await snapshot(redis) == before


async def test_a_turn_that_runs_already_stays(store, redis):
    submitted = await store.submit(KEY, request())
    await claim(store)
    before = await snapshot(redis)
    assert await store.withdraw(submitted, ENDING) is None
    assert await snapshot(redis) == before


async def test_a_turn_that_ran_meanwhile_stays(store, redis):
    """It is queued again, and nobody else asked for it: taken back, its log and steps stayed without a turn."""
    submitted = await store.submit(KEY, request())
    await store.handover(await claim(store))
    before = await snapshot(redis)
    assert await store.withdraw(submitted, ENDING) is None
    assert await snapshot(redis) == before


async def test_signals_of_a_turn_that_disappears_go_with_it(store, redis):
    submitted = await store.submit(KEY, request())
    await store.signal(KEY, "approval", b"1")
    await store.withdraw(submitted, ENDING)
    assert await redis.exists(KEY.signals) == 0


async def test_repeating_it_says_the_same(store, twice):
    """It said that somebody else relied on the turn: the client was answered as if it had been accepted."""
    submitted = await store.submit(KEY, request())
    assert await twice(lambda: store.withdraw(submitted, ENDING)) is not None
    assert await store.record(KEY) is None


async def test_repeating_it_for_a_reopened_turn_says_the_same(store, twice):
    submitted = await reopened(store)
    assert await twice(lambda: store.withdraw(submitted, ENDING)) is not None
    assert types_of(await log_of(store)).count(RUN_FAILED) == 1


async def test_a_turn_made_anew_in_between_is_not_taken_back_by_a_late_repeat(store, redis):
    """A lost reply, then another client's POST at the same index, then the repeat."""
    submitted = await store.submit(KEY, request())
    await store.withdraw(submitted, ENDING)
    await store.submit(KEY, request())
    before = await snapshot(redis)
    assert await store.withdraw(submitted, ENDING) is None
    assert await snapshot(redis) == before


async def test_a_server_that_forgot_the_script_gets_it_again(store, redis):
    submitted = await store.submit(KEY, request())
    await redis.script_flush()
    assert await store.withdraw(submitted, ENDING) is not None


async def test_the_turn_that_waited_for_it_may_run(store):
    submitted = await store.submit(KEY, request())
    await store.submit(SESSION.turn(1), request())
    assert await store.claim(SESSION.turn(1), WORKER) == Waits(0, interrupt=False)
    assert await store.withdraw(submitted, ENDING) == [1]


async def test_a_turn_for_which_another_one_waits_stays(store):
    submitted = await store.submit(KEY, request())
    await store.submit(SESSION.turn(1), request(parent=0))
    assert await store.claim(SESSION.turn(1), WORKER) == Waits(0, interrupt=False)
    assert await store.withdraw(submitted, ENDING) is None
    await claim(store)


async def test_a_turn_that_fails_again_lets_those_run_that_waited_for_it(store):
    submitted = await reopened(store)
    await store.submit(SESSION.turn(1), request(parent=0))
    await store.submit(SESSION.turn(2), request(parent=0))
    assert await store.claim(SESSION.turn(2), WORKER) == Waits(0, interrupt=False)
    assert await store.withdraw(submitted, ENDING) == [1, 2]
