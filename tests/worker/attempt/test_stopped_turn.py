"""A turn that is stopped, lost or taken over: what is done again, what is not, what is written."""

import asyncio

import msgspec
import pytest

from tests.support.faults import one_lost_reply
from tests.support.product import HOLD, Product, Scripted, text
from tests.support.turns import (
    KEY,
    OTHER_WORKER,
    append,
    log_of,
    lose_lease,
    renew,
    request,
    seqs_of,
    snapshot,
    step,
    submit_and_claim,
    take_over,
    types_of,
)
from tests.support.waiting import wait_until
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.replies import Cancelled, CancelVerdict
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.usage import Usage
from turnwire.worker.attempt.attempt import Stop
from turnwire.worker.attempt.outcome import Again, Done
from turnwire.worker.attempt.run import TurnRunner

RUN_ID = KEY.run_id


async def running(store: TurnStore, runner: TurnRunner, product: Scripted) -> asyncio.Task:
    """A run whose producer holds, with everything that it yielded before in the log."""
    await store.submit(KEY, request())
    run = asyncio.create_task(runner.run(RUN_ID))
    await wait_until(product.holding.is_set, "the producer to hold")
    await runner.attempts[RUN_ID].log.flush()
    return run


async def test_a_takeover_while_the_producer_ran_runs_it_again_and_drops_the_old_events(store, runner_of):
    stale = await submit_and_claim(store, worker=OTHER_WORKER)
    await append(store, stale, 1, b'{"type":"x","data":{}}')
    await lose_lease(store)
    product = Product(text("whole"))
    assert isinstance(await runner_of(product).run(RUN_ID), Done)
    log = await log_of(store)
    assert types_of(log) == [
        "session.run.started", "session.run.resumed", "message.part.updated", "result", "session.run.completed",
    ]  # fmt: skip
    assert seqs_of(log) == list(range(5))
    assert product.turns[0].attempt == 2
    assert product.seen == types_of(log)[1:]


async def test_c8_a_takeover_after_the_producer_ended_only_finishes(store, runner_of):
    stale = await submit_and_claim(store, worker=OTHER_WORKER)
    await append(store, stale, 1, b'{"type":"result","data":{"finalText":"hello"}}')
    await store.checkpoint(stale, step(0, "1-1", intent="turn", result="hello"))
    await lose_lease(store)
    product = Product(text("never"))
    assert isinstance(await runner_of(product).run(RUN_ID), Done)
    assert product.turns == []
    record = await store.record(KEY)
    assert (record.status, record.final_text, record.persist) == (TurnState.COMPLETED, "HELLO", "done")
    assert types_of(await log_of(store)) == [
        "session.run.started", "result", "session.run.resumed", "session.run.completed",
    ]  # fmt: skip


async def test_c14_a_takeover_after_persisting_does_not_persist_again(store, runner_of):
    stale = await submit_and_claim(store, worker=OTHER_WORKER)
    for position, (intent, result) in enumerate(
        [("turn", "hello"), ("transform_final_text", "HELLO"), ("persist_assistant_message", None)]
    ):
        await store.checkpoint(stale, step(position, "1-0", intent=intent, result=result))
    await lose_lease(store)
    product = Product(text("never"))
    await runner_of(product).run(RUN_ID)
    assert product.calls == ["on_turn_complete", "trace_flush"]
    assert product.completed == ["HELLO"]


async def test_what_the_dead_attempts_finished_step_used_is_not_forgotten(store, runner_of):
    stale = await submit_and_claim(store, worker=OTHER_WORKER)
    used = Usage(1, 5, 7, None, model_called="m", cached_tokens=None, reasoning_tokens=None, partial=True)
    await store.checkpoint(stale, msgspec.structs.replace(step(0, "1-0", intent="turn", result="x"), usage=used))
    await lose_lease(store)
    await runner_of(Scripted()).run(RUN_ID)
    assert (await store.record(KEY)).usage == used


async def test_a_drain_gives_the_turn_back_without_spending_a_crash(store, redis, runner_of):
    product = Scripted(text("half"), HOLD)
    runner = runner_of(product)
    run = await running(store, runner, product)
    runner.attempts[RUN_ID].stop(Stop.DRAIN)
    assert (await run).delay_ms == 0
    assert (await store.record(KEY)).status is TurnState.QUEUED
    assert not await redis.exists(KEY.lease)
    assert product.closed == 1
    await submit_and_claim(store, worker=OTHER_WORKER)
    assert (await log_of(store))[-1][2]["reason"] == "handover"
    assert await redis.hget(KEY.record, "crashes") == b"0"


async def test_a_drain_during_the_last_hook_does_not_lose_the_answer(store, runner_of):
    class Slow(Product):
        async def on_turn_complete(self, turn, final_text):
            self.holding.set()
            await self.gate.wait()

    product = Slow(text("hi"))
    runner = runner_of(product)
    await store.submit(KEY, request())
    run = asyncio.create_task(runner.run(RUN_ID))
    await wait_until(product.holding.is_set, "the hook to hold")
    runner.attempts[RUN_ID].stop(Stop.DRAIN)
    assert (await run).delay_ms == 0
    product.gate.set()
    assert isinstance(await runner_of(product, worker=OTHER_WORKER).run(RUN_ID), Done)
    assert len(product.turns) == 1
    assert product.calls.count("persist_assistant_message") == 1
    assert (await store.record(KEY)).final_text == "HI"


async def test_w1_a_process_that_stops_gives_the_turn_back_before_it_ends(store, runner_of):
    product = Scripted(HOLD)
    runner = runner_of(product)
    run = await running(store, runner, product)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (await store.record(KEY)).status is TurnState.QUEUED
    assert runner.attempts == {}


async def test_c80_a_lost_lease_writes_nothing_more(store, redis, runner_of, settings):
    product = Product(text("half"), HOLD, text("late"))
    runner = runner_of(product)
    run = await running(store, runner, product)
    await take_over(store)
    before = await snapshot(redis)
    await renew(runner, store)
    assert await run == Again(settings.lease_ms)
    assert await snapshot(redis) == before
    assert product.calls == ["trace_flush"]
    assert product.closed == 1


async def test_a_lease_lost_unnoticed_stops_at_the_next_event(store, redis, runner_of, settings):
    product = Product(text("half"), HOLD, text("late"), text("later"))
    runner = runner_of(product)
    run = await running(store, runner, product)
    await take_over(store)
    before = await snapshot(redis)
    product.gate.set()
    assert await run == Again(settings.lease_ms)
    assert await snapshot(redis) == before
    assert product.persisted == {}


async def test_a_lease_lost_unnoticed_does_not_settle(store, redis, runner_of, settings):
    product = Product(text("half"), HOLD)
    product.script += ({"type": "result", "data": {"finalText": "x"}},)
    runner = runner_of(product)
    run = await running(store, runner, product)
    await take_over(store)
    before = await snapshot(redis)
    product.gate.set()
    assert await run == Again(settings.lease_ms)
    assert await snapshot(redis) == before


async def test_a_lapsed_lease_that_nobody_took_comes_back_with_the_heartbeat(store, redis, runner_of):
    product = Scripted(HOLD, text("x"))
    runner = runner_of(product)
    run = await running(store, runner, product)
    await lose_lease(store)
    await renew(runner, store)
    assert await redis.exists(KEY.lease)
    product.gate.set()
    assert isinstance(await run, Done)


async def test_a_cancel_ends_the_turn_at_once(store, runner_of):
    product = Product(text("half"), HOLD)
    runner = runner_of(product)
    run = await running(store, runner, product)
    assert await store.cancel(KEY) == Cancelled(CancelVerdict.REQUESTED)
    runner.look_if_cancelled(RUN_ID)
    assert isinstance(await run, Done)
    record = await store.record(KEY)
    assert (record.status, record.error.code) == (TurnState.CANCELLED, "cancelled")
    log = await log_of(store)
    assert types_of(log) == ["session.run.started", "message.part.updated", "session.run.failed"]
    assert log[-1][2]["code"] == "cancelled"
    assert product.closed == 1
    assert "on_turn_complete" not in product.calls


async def test_a_cancel_whose_message_was_missed_arrives_with_the_heartbeat(store, runner_of):
    product = Scripted(HOLD)
    runner = runner_of(product)
    run = await running(store, runner, product)
    await store.cancel(KEY)
    await renew(runner, store)
    assert isinstance(await run, Done)
    assert (await store.record(KEY)).status is TurnState.CANCELLED


async def test_a_cancel_that_arrives_while_the_turn_is_claimed_counts(store, runner_of):
    class Slow(TurnStore):
        async def claim(self, key, worker, projects=None, **how):
            claimed = await super().claim(key, worker, projects, **how)
            await self.cancel(key)
            runner.look_if_cancelled(RUN_ID)
            return claimed

    product = Scripted(HOLD)
    runner = runner_of(product, store=Slow(store.redis, store.settings))
    await store.submit(KEY, request())
    assert isinstance(await runner.run(RUN_ID), Done)
    assert (await store.record(KEY)).status is TurnState.CANCELLED


async def test_a_message_about_a_turn_that_nobody_has_cancelled_stops_nothing(store, redis, runner_of):
    product = Product(text("whole"), HOLD)
    runner = runner_of(product)
    run = await running(store, runner, product)
    runner.look_if_cancelled(RUN_ID)
    await wait_until(lambda: not runner._looks, "the look at the turn's record")
    product.gate.set()
    assert isinstance(await run, Done)
    assert (await store.record(KEY)).status is TurnState.COMPLETED


async def test_cancelling_a_turn_that_is_not_here_does_nothing(runner_of):
    runner_of(Scripted()).look_if_cancelled(RUN_ID)


async def test_a_drain_does_not_undo_a_lost_lease(store, redis, runner_of, settings):
    product = Scripted(HOLD)
    runner = runner_of(product)
    run = await running(store, runner, product)
    await take_over(store)
    before = await snapshot(redis)
    runner.attempts[RUN_ID].stop(Stop.DRAIN)
    runner.attempts[RUN_ID].stop(Stop.LOST)
    assert await run == Again(settings.lease_ms)
    assert await snapshot(redis) == before


@pytest.mark.parametrize("method", ["claim", "checkpoint", "settle", "history"])
async def test_a_store_that_does_not_answer_for_a_while_delays_a_turn_and_repeats_nothing(store, runner_of, method):
    """A checkpoint that Redis did not take at once must not throw the answer away that it was for."""

    class Away(TurnStore):
        left = 2

        def __getattribute__(self, name):
            found = super().__getattribute__(name)
            if name != method:
                return found

            async def unavailable_twice(*args, **kwargs):
                if Away.left == 0:
                    return await found(*args, **kwargs)
                Away.left -= 1
                raise StoreUnavailable("the store does not answer")

            return unavailable_twice

    product = Product(text("hi"))
    await store.submit(KEY, request())
    assert isinstance(await runner_of(product, store=Away(store.redis, store.settings)).run(RUN_ID), Done)
    assert (await store.record(KEY)).status is TurnState.COMPLETED
    assert len(product.turns) == 1
    assert product.calls.count("persist_assistant_message") == 1


@pytest.mark.parametrize("resent", [False, True])
async def test_a_lost_reply_at_the_claim_starts_one_attempt(store, redis, runner_of, resent):
    await store.submit(KEY, request())
    runner = runner_of(Scripted(text("hi")))
    with one_lost_reply(redis, resent=resent):
        assert isinstance(await runner.run(RUN_ID), Done)
    assert types_of(await log_of(store)).count("session.run.started") == 1
    assert (await store.record(KEY)).attempt == 1
