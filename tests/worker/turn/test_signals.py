"""Signals: a turn gives up its worker until somebody says something, and comes back to the same line."""

import asyncio

import pytest

from tests.support.agent import Agent
from tests.support.product import text
from tests.support.scraped import grows
from tests.support.turns import KEY, OTHER_WORKER, WORKER, claim, log_of, request, seqs_of, types_of
from tests.support.waiting import wait_until
from turnwire import SignalTimeoutError
from turnwire.shared import keys
from turnwire.shared.errors import NotFound, TurnEnded
from turnwire.shared.ledger import decode_row
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.replies import CancelVerdict
from turnwire.worker.attempt.outcome import Done, Parked
from turnwire.worker.pool.sweep import Sweep

NO_DEADLINE_MS = 30_000  # half of what the settings of the tests keep a turn: it is looked at so often


async def approval(turn, agent):
    """Asks before it acts."""
    plan = await turn.step("plan", agent.does("plan", "delete all"))
    yield text(f"May I {plan}? ")
    answer = await turn.signal("approval")
    yield text("Yes." if answer["ok"] else "No.")


@pytest.fixture
async def suspended(store, runner_of):
    """A turn that waits for its approval; its agent."""
    agent = Agent(approval)
    await store.submit(KEY, request())
    assert (await runner_of(agent).run(KEY.run_id)).look_ms == NO_DEADLINE_MS
    return agent


async def test_a_turn_that_waits_holds_no_lease_and_says_so(store, suspended):
    record = await store.record(KEY)
    assert (record.status, record.awaiting) == (TurnState.SUSPENDED, "approval")
    assert await store.redis.exists(KEY.lease) == 0
    last = (await log_of(store))[-1]
    assert last[1:] == ("session.run.suspended", {"awaiting": "approval", "timeoutMs": None})


async def test_c19_the_signal_resumes_it_where_it_was_and_repeats_nothing(store, runner_of, suspended):
    before = await log_of(store)
    signalled = await store.signal(KEY, "approval", b'{"ok":true}')
    assert (signalled.first, signalled.enqueue) == (True, True)
    assert (await store.record(KEY)).status is TurnState.QUEUED
    assert isinstance(await runner_of(suspended, OTHER_WORKER).run(KEY.run_id), Done)
    record = await store.record(KEY)
    assert (record.status, record.final_text, record.awaiting) == (TurnState.COMPLETED, "May I delete all? Yes.", None)
    assert suspended.ran == ["plan"]
    log = await log_of(store)
    assert log[: len(before)] == before
    assert log[len(before)][1:] == ("session.run.resumed", {"attempt": 2, "after": before[-1][0], "reason": "signal"})
    assert seqs_of(log) == list(range(len(log)))
    assert types_of(log).count("message.part.updated") == 2
    assert await store.redis.hget(KEY.record, "crashes") == b"0"


async def test_a_signal_may_come_before_the_turn_waits(store, runner_of):
    agent = Agent(approval)
    await store.submit(KEY, request())
    assert (await store.signal(KEY, "approval", b'{"ok":false}')).enqueue is False
    assert isinstance(await runner_of(agent).run(KEY.run_id), Done)
    assert (await store.record(KEY)).final_text == "May I delete all? No."
    assert "session.run.suspended" not in types_of(await log_of(store))


async def test_c21_the_first_signal_of_a_key_wins(store, suspended):
    first = await store.signal(KEY, "approval", b'{"ok":true}')
    again = await store.signal(KEY, "approval", b'{"ok":false}')
    assert (again.first, again.stored) == (False, first.stored)
    assert again.enqueue  # whoever sent the first may have died before the turn was enqueued


async def test_another_signal_does_not_wake_it(store, suspended):
    assert (await store.signal(KEY, "weather", b"1")).enqueue is False
    assert (await store.record(KEY)).status is TurnState.SUSPENDED


async def test_a_signal_to_nothing_or_to_the_past_is_refused(store, runner_of, suspended):
    with pytest.raises(NotFound):
        await store.signal(keys.session_key("nobody").turn(0), "approval", b"1")
    await store.cancel(KEY)
    with pytest.raises(TurnEnded):
        await store.signal(KEY, "other", b"1")


async def test_c20_a_timeout_fires_with_no_worker_waiting(store, queue, runner_of):
    async def script(turn, agent):
        try:
            await turn.signal("approval", timeout=0.05)
        except SignalTimeoutError:
            yield text("Too late.")

    agent = Agent(script)
    await queue.announce(KEY.run_id)
    await store.submit(KEY, request())
    await queue.enqueue(KEY.run_id)
    [taken], _ = await queue.take("w", 1)
    parked = await runner_of(agent).run(KEY.run_id)
    assert parked.look_ms == 50
    await queue.park("w", taken, parked.look_ms)
    sweep = Sweep(store, queue, WORKER)

    async def queued():
        await sweep.once()
        return (await store.record(KEY)).status is TurnState.QUEUED

    with grows("worker", "turnwire_sweep_finds_total", kind="signal_timeout"):
        await wait_until(queued, "its time is up")
    assert (await queue.take("w", 1))[0]
    assert (await store.signal(KEY, "approval", b"1")).first is False
    await runner_of(agent, OTHER_WORKER).run(KEY.run_id)
    assert (await store.record(KEY)).final_text == "Too late."


async def test_a_timeout_that_nobody_catches_fails_the_turn(store, runner_of):
    async def script(turn, agent):
        await turn.signal("approval", timeout=0.001)
        yield text("never")

    agent = Agent(script)
    await store.submit(KEY, request())
    await runner_of(agent).run(KEY.run_id)
    await wait_until(lambda: _expired(store), "its time is up")
    await runner_of(agent, OTHER_WORKER).run(KEY.run_id)
    record = await store.record(KEY)
    assert (record.status, record.error.code) == (TurnState.FAILED, "signal_timeout")


async def _expired(store):
    return await store.expire(KEY) in {0, None}


async def test_a_suspended_turn_that_is_looked_at_stays_suspended(store, queue, runner_of, suspended):
    assert isinstance(await runner_of(suspended, OTHER_WORKER).run(KEY.run_id), Parked)
    await store.redis.zadd(keys.OPEN_TURNS, {KEY.run_id: 0})
    assert await Sweep(store, queue, WORKER).once() == 1
    assert (await store.record(KEY)).status is TurnState.SUSPENDED
    assert await store.redis.zscore(keys.QUEUE, KEY.run_id) is None


async def test_a_suspended_turn_is_cancelled_at_once(store, suspended):
    assert (await store.cancel(KEY)).verdict is CancelVerdict.CANCELLED
    assert (await store.record(KEY)).status is TurnState.CANCELLED
    assert types_of(await log_of(store))[-1] == "session.run.failed"


async def test_a_cancel_that_arrives_while_it_suspends_is_not_forgotten(store, runner_of):
    """The worker was told, but the turn had given up its lease before the worker could stop it."""
    await store.submit(KEY, request())
    claimed = await claim(store)
    assert (await store.cancel(KEY)).verdict is CancelVerdict.REQUESTED
    await store.suspend(claimed, "approval", None, claimed.next_seq, b'{"type":"session.run.suspended","data":{}}')
    assert isinstance(await runner_of(Agent(approval), OTHER_WORKER).run(KEY.run_id), Done)
    assert (await store.record(KEY)).status is TurnState.CANCELLED


async def test_suspending_may_be_repeated_after_a_lost_reply(store):
    await store.submit(KEY, request())
    claimed = await claim(store)
    event = b'{"type":"session.run.suspended","data":{"awaiting":"a","timeoutMs":null}}'
    first, again = [await store.suspend(claimed, "a", None, claimed.next_seq, event) for _ in range(2)]
    assert first == again
    assert decode_row(first.row).outcome == "suspended"
    assert types_of(await log_of(store)) == ["session.run.started", "session.run.suspended"]


async def test_a_producer_that_swallows_its_end_writes_nothing_more(store, runner_of):
    async def script(turn, agent):
        try:
            await turn.signal("approval")
        except asyncio.CancelledError:
            agent.ran.append("swallowed")
        yield text("still here")

    agent = Agent(script)
    await store.submit(KEY, request())
    await runner_of(agent).run(KEY.run_id)
    assert agent.ran == ["swallowed"]
    assert types_of(await log_of(store))[-1] == "session.run.suspended"
    assert (await store.record(KEY)).status is TurnState.SUSPENDED


async def test_two_signals_one_after_the_other(store, runner_of):
    async def script(turn, agent):
        first = await turn.signal("one")
        yield text(f"{first} ")
        second = await turn.signal("two")
        yield text(str(second))

    agent = Agent(script)
    await store.submit(KEY, request())
    for key, payload in (("one", b"1"), ("two", b"2")):
        assert (await runner_of(agent).run(KEY.run_id)).look_ms == NO_DEADLINE_MS
        await store.signal(KEY, key, payload)
    await runner_of(agent).run(KEY.run_id)
    assert (await store.record(KEY)).final_text == "1 2"
    log = await log_of(store)
    assert seqs_of(log) == list(range(len(log)))
