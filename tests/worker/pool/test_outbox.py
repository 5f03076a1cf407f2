"""An answer that the product cannot store is never lost: its turn completes, and a job of its own goes on."""

import asyncio

import msgspec
import pytest

from tests.support.product import text
from tests.support.scraped import grows
from tests.support.turns import KEY, WORKER, claim, log_of, request
from tests.support.waiting import wait_until
from turnwire import ChatTurnHooks
from turnwire.api.endpoints.turns import replay_events
from turnwire.shared import keys
from turnwire.shared.errors import UnstorableValue
from turnwire.shared.keys import SessionKey
from turnwire.shared.lifecycle import TurnState
from turnwire.worker.attempt.outcome import Again, Done
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
        self.completed = []

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

    async def on_turn_complete(self, turn, final_text):
        self.completed.append(final_text)


@pytest.fixture
def due(redis):
    """Makes the next try due: as if its pause were over."""

    async def pass_pause():
        await redis.hdel(KEY.record, "persist_at")

    return pass_pause


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


async def test_it_is_tried_until_it_succeeds_under_the_same_id(store, redis, ended, due):
    hooks = Flaky(persist_fails=5)  # three of them in place
    outbox = await ended(hooks)
    assert await outbox.run(KEY) == Again(2000)
    await due()
    assert await outbox.run(KEY) == Again(4000)
    await due()
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
    assert (record.persist, record.final_text) == ("pending", None)  # nobody may see it as it is
    assert hooks.completed == []
    assert isinstance(await outbox.run(KEY), Done)
    assert hooks.kept == {next(iter(hooks.kept)): "HELLO"}
    assert (await store.record(KEY)).final_text == "HELLO"
    assert await store.untransformed(KEY) is None
    assert hooks.completed == ["HELLO"]


async def test_the_raw_text_of_an_answer_is_in_no_history_and_no_replay(store, runner_of, ended):
    await ended(Flaky(transform_fails=99))
    later, history = KEY.session.turn(1), []

    class Later(ChatTurnHooks):
        async def produce(self, turn):
            history.extend(turn.history())
            yield text("x")

    await store.submit(later, request())
    await runner_of(Later()).run(later.run_id)
    assert history == []
    replayed = b"".join(replay_events(await store.record(KEY)))
    assert b"hello" not in replayed
    assert b'"persisted":false' in replayed


async def test_on_turn_complete_is_called_after_the_outbox_has_persisted_the_answer(store, ended, due):
    hooks = Flaky(persist_fails=4)
    outbox = await ended(hooks)
    assert await outbox.run(KEY) == Again(2000)
    await due()
    assert hooks.completed == []
    assert isinstance(await outbox.run(KEY), Done)
    assert (hooks.completed, list(hooks.kept.values())) == (["HELLO"], ["HELLO"])


async def test_the_kept_text_of_a_failed_turn_is_transformed_and_persisted_and_completes_nothing(store, ended):
    class Failing(Flaky):
        async def produce(self, turn):
            yield text("part")
            yield {"type": "error", "data": {"message": "no more", "code": "broken"}}

    hooks = Failing(transform_fails=3)
    outbox = await ended(hooks)
    record = await store.record(KEY)
    assert (record.status, record.final_text, record.persist) == (TurnState.FAILED, None, "pending")
    assert isinstance(await outbox.run(KEY), Done)
    record = await store.record(KEY)
    assert (record.final_text, record.persist, hooks.completed) == ("PART", "done", [])


async def test_the_outbox_gives_up_on_a_hook_that_hangs(store, ended, settings, monkeypatch):
    hooks = Flaky(persist_fails=3)
    await ended(hooks)
    monkeypatch.setattr(store, "settings", msgspec.structs.replace(settings, hook_timeout_s=0.05))

    async def hang(turn, final_text):
        await asyncio.Event().wait()

    monkeypatch.setattr(hooks, "persist_assistant_message", hang)
    assert await Outbox(store, Products({None: hooks})).run(KEY) == Again(2000)
    assert (await store.record(KEY)).persist == "pending"


async def test_the_pause_between_tries_is_capped(store, ended, due):
    outbox = await ended(Flaky(persist_fails=99))
    for _ in range(12):
        await outbox.run(KEY)
        await due()
    with grows("worker", "turnwire_persist_failures_total"):
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
    with grows("worker", "turnwire_sweep_finds_total", kind="persist"):
        await Sweep(store, queue, WORKER).once()
    assert await redis.zscore(keys.QUEUE, JOB) is not None
    assert isinstance(await outbox.run(KEY), Done)
    await redis.delete(keys.job(JOB))
    await redis.zadd(keys.OPEN_TURNS, {JOB: 0})
    await Sweep(store, queue, WORKER).once()
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


async def test_a_try_whose_worker_dies_is_counted_and_its_pause_is_kept(store, ended):
    hooks = Flaky(persist_fails=3)
    await ended(hooks)

    class Dying(Outbox):
        async def _persisted(self, record, key):
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Dying(store, Products({None: hooks})).run(KEY)
    outcome = await Outbox(store, Products({None: hooks})).run(KEY)
    assert isinstance(outcome, Again)
    assert 1000 < outcome.delay_ms <= 2000
    assert await store.persist_tries([KEY]) == [1]
    assert hooks.kept == {}


async def test_an_answer_whose_storing_cannot_be_noted_is_tried_again_with_pauses(store, ended, monkeypatch, caplog):
    outbox = await ended(Flaky(persist_fails=3))

    async def refused(key, text):
        raise UnstorableValue("a value cannot be stored")

    monkeypatch.setattr(store, "persisted", refused)
    assert await outbox.run(KEY) == Again(2000)
    assert "the outbox failed" in caplog.text


async def test_a_store_of_the_product_that_hangs_delays_no_turn(store, queue, redis, settings):
    """One of four slots' worth of answers is tried at a time; the others wait, and turns do not wait for them."""

    class Hanging(Flaky):
        async def persist_assistant_message(self, turn, final_text):
            if turn.session_id != "new":
                self.persists += 1
                await asyncio.Event().wait()

    settings = msgspec.structs.replace(settings, max_jobs=2, drain_s=0.0)
    hooks = Hanging()
    for number in range(6):
        key = SessionKey("default", f"old{number}").turn(0)
        await store.submit(key, request())
        claimed = await store.claim(key, "worker/gone")
        await store.settle(claimed, TurnState.COMPLETED, 1, [], {"persist": "pending", "final_text": "x"})
        await queue.enqueue_persist(key.run_id)
    worker = TurnWorker(settings, Products({None: hooks}))
    running = asyncio.create_task(worker.main())
    try:
        await wait_until(lambda: hooks.persists, "the outbox to hang")
        new = SessionKey("default", "new").turn(0)
        await store.submit(new, request())
        await queue.enqueue(new.run_id)

        async def completed():
            return (await store.existing(new)).status is TurnState.COMPLETED

        await wait_until(completed, "the new turn to complete")
        assert hooks.persists == 1
    finally:
        worker.drain()
        await running
        await worker.close()
