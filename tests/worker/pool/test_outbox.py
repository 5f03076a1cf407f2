"""An answer that the product cannot store is never lost: its turn completes, and a job of its own goes on."""

import asyncio

import pytest

from tests.support.product import text
from tests.support.turns import KEY, claim, log_of, request
from tests.support.waiting import wait_until
from turnwire.shared import keys
from turnwire.shared.lifecycle import TurnState
from turnwire.worker.attempt.outcome import Again, Done
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.pool.outbox import LONGEST_PAUSE_MS, NOT_YET_MS, Outbox
from turnwire.worker.pool.sweep import Sweep
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products

JOB = keys.persist_id(KEY.run_id)


class Flaky(ChatTurnHooks):
    """Cannot persist, or transform, for the first so many calls."""

    def __init__(self, persist_fails=0, transform_fails=0):
        self.persist_fails, self.transform_fails = persist_fails, transform_fails
        self.transforms, self.persists, self.kept = 0, 0, {}

    async def produce(self, turn):
        yield text("hello")

    async def transform_final_text(self, turn, answer):
        self.transforms += 1
        if self.transforms <= self.transform_fails:
            raise RuntimeError("no transformer")
        return answer.upper()

    async def persist_assistant_message(self, turn, final_text):
        self.persists += 1
        if self.persists <= self.persist_fails:
            raise RuntimeError("no database")
        self.kept[turn.message_id] = final_text


@pytest.fixture
def ended(store, runner_of, settings):
    """Runs a turn of these hooks to its end; returns its outbox."""

    async def run(hooks):
        await store.submit(KEY, request())
        await runner_of(hooks).run(KEY.run_id)
        return Outbox(store, Products({None: hooks}))

    return run


async def test_the_turn_completes_and_its_job_is_there(store, redis, ended):
    await ended(Flaky(persist_fails=99))
    record = await store.record(KEY)
    assert (record.status, record.persist, record.final_text) == (TurnState.COMPLETED, "pending", "HELLO")
    assert (await log_of(store))[-1][2]["persisted"] is False
    assert await redis.zscore(keys.QUEUE, JOB) is not None
    assert await redis.zscore(keys.OPEN_TURNS, JOB) is not None


async def test_it_is_tried_until_it_succeeds_under_the_same_id(store, redis, ended):
    hooks = Flaky(persist_fails=5)  # three of them in place
    outbox = await ended(hooks)
    assert await outbox.run(KEY) == Again(2000)
    assert await outbox.run(KEY) == Again(4000)
    assert (await store.record(KEY)).persist == "pending"
    assert isinstance(await outbox.run(KEY), Done)
    assert (await store.record(KEY)).persist == "done"
    assert list(hooks.kept.values()) == ["HELLO"]
    assert hooks.transforms == 1  # its checkpoint stands
    assert await redis.pttl(KEY.record) > 0
    assert isinstance(await outbox.run(KEY), Done)
    assert hooks.persists == 6


async def test_a_transform_that_failed_is_made_good_before_anything_is_stored(store, ended):
    hooks = Flaky(transform_fails=3)
    outbox = await ended(hooks)
    record = await store.record(KEY)
    assert (record.persist, record.final_text) == ("pending", "hello")
    assert isinstance(await outbox.run(KEY), Done)
    assert hooks.kept == {next(iter(hooks.kept)): "HELLO"}
    assert (await store.record(KEY)).final_text == "HELLO"


async def test_the_pause_between_tries_is_capped(store, ended):
    outbox = await ended(Flaky(persist_fails=99))
    for _ in range(12):
        await outbox.run(KEY)
    assert await outbox.run(KEY) == Again(60_000)


async def test_a_job_that_is_early_waits_for_its_turn(store, ended):
    """Not for long while it runs; a turn that was asked again may wait for days, and its new end asks anew."""
    outbox = Outbox(store, Products({None: Flaky()}))
    await store.submit(KEY, request())
    assert await outbox.run(KEY) == Again(LONGEST_PAUSE_MS)
    await claim(store)
    assert await outbox.run(KEY) == Again(NOT_YET_MS)


async def test_a_lost_job_is_put_back_by_the_sweep_until_the_answer_is_stored(store, queue, redis, ended):
    hooks = Flaky(persist_fails=3)
    outbox = await ended(hooks)
    await redis.zrem(keys.QUEUE, JOB)
    await redis.delete(keys.job(JOB))
    await redis.zadd(keys.OPEN_TURNS, {JOB: 0})
    await Sweep(store, queue).once()
    assert await redis.zscore(keys.QUEUE, JOB) is not None
    assert isinstance(await outbox.run(KEY), Done)
    await redis.zadd(keys.OPEN_TURNS, {JOB: 0})
    await Sweep(store, queue).once()
    assert await redis.zscore(keys.OPEN_TURNS, JOB) is None


async def test_a_worker_runs_turn_and_outbox_from_the_queue(store, queue, redis, settings, monkeypatch):
    monkeypatch.setattr("turnwire.worker.pool.outbox.FIRST_PAUSE_MS", 10)
    hooks = Flaky(persist_fails=4)
    worker = TurnWorker(settings, Products({None: hooks}))
    running = asyncio.create_task(worker.main())
    try:
        await store.submit(KEY, request())
        await queue.enqueue(KEY.run_id)

        async def stored():
            record = await store.record(KEY)
            return record.persist == "done"

        await wait_until(stored, "the answer is stored")
        await wait_until(lambda: _no_jobs(redis), "its job is gone")
    finally:
        worker.drain()
        await running
        await worker.close()


async def _no_jobs(redis):
    return await redis.zcard(keys.QUEUE) == 0 and await redis.zcard(keys.OPEN_TURNS) == 0
