"""The store loses what it had acknowledged: the attempt writes it again from memory, or gives the turn back."""

import asyncio

import pytest

from tests.support.product import text
from tests.support.scraped import grows
from tests.support.turns import KEY, WORKER, log_of, request, seqs_of, types_of
from tests.support.waiting import wait_until
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.queue import TurnQueue
from turnwire.worker.attempt import appender, kept_steps
from turnwire.worker.attempt.outcome import Again, Done
from turnwire.worker.attempt.run import TurnRunner
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.products import Products


class Product(ChatTurnHooks):
    """Two steps with events around them; `steps` counts how often each ran. It waits at each of its three gates."""

    def __init__(self) -> None:
        self.gates = [asyncio.Event() for _ in range(3)]
        self.reached = 0
        self.calls: list[str] = []

    async def produce(self, turn):
        self.calls.append("produce")
        for number, gate in enumerate(self.gates):
            for delta in range(3):
                yield text(f"{number}.{delta} ")
            if number < 2:
                await turn.step(f"step {number}", lambda number=number: self.work(number))
            self.reached = number + 1
            await gate.wait()
        yield text("end")

    async def work(self, number):
        self.calls.append(f"step {number}")
        return "x" * 100

    async def persist_assistant_message(self, turn, final_text):
        self.calls.append("persist")


@pytest.fixture
async def running(store, redis, settings):
    """A turn at its first gate: (product, its runner, its end)."""
    product = Product()
    runner = TurnRunner(store, TurnQueue(redis, settings), Products({None: product}), WORKER)
    await store.submit(KEY, request())
    writer = asyncio.create_task(runner.appender.run())
    end = asyncio.create_task(runner.run(KEY.run_id))
    await wait_until(lambda: product.reached == 1, "the first gate")
    yield product, runner, end
    writer.cancel()
    end.cancel()
    await asyncio.wait({writer, end})


async def lose_events(redis, keep):
    """Bring the log back to what it was when it had this many events."""
    entries = await redis.xrange(KEY.events)
    await redis.delete(KEY.events)
    for entry_id, (_, event) in entries[:keep]:
        await redis.xadd(KEY.events, {"e": event}, id=entry_id)


async def lose_steps(redis):
    """Bring the turn back to what it was before its first checkpoint."""
    await redis.delete(KEY.steps)
    await redis.hset(KEY.record, mapping={"stands": "", "checkpoints": 0})


async def finish(product, end):
    for gate in product.gates:
        gate.set()
    async with asyncio.timeout(10):
        return await end


async def whole(store):
    log = await log_of(store)
    assert seqs_of(log) == list(range(len(log)))
    assert {entry_id.partition("-")[0] for entry_id, _, _ in log} == {"1"}
    deltas = [data["delta"] for _, _, data in log if "delta" in data]
    assert deltas == [f"{number}.{delta} " for number in range(3) for delta in range(3)] + ["end"]


async def test_lost_events_are_written_again_at_the_next_append(store, redis, running):
    product, _, end = running
    await lose_events(redis, 2)
    product.gates[0].set()
    with grows("worker", "turnwire_events_restored_total"):
        assert isinstance(await finish(product, end), Done)
    await whole(store)
    assert product.calls == ["produce", "step 0", "step 1", "persist"]


async def test_lost_steps_are_written_again_at_the_next_step(store, redis, running):
    product, _, end = running
    await lose_steps(redis)
    product.gates[0].set()
    await wait_until(lambda: product.reached == 2, "the second gate")
    stored = await store.steps(KEY)
    assert {position: record.intent for position, record in stored.items()} == {0: "step 0", 1: "step 1"}
    assert isinstance(await finish(product, end), Done)
    await whole(store)


async def test_events_that_the_end_of_the_turn_misses_are_written_before_it(store, redis, running):
    product, runner, end = running
    settle = store.settle
    lost: list[None] = []

    async def losing(*args, **known):
        if not lost:
            lost.append(await lose_events(redis, 5))
        return await settle(*args, **known)

    runner._store.settle = losing
    assert isinstance(await finish(product, end), Done)
    assert lost
    await whole(store)
    assert types_of(await log_of(store))[-1] == "session.run.completed"


async def test_an_attempt_that_cannot_write_it_again_gives_the_turn_back(store, redis, running, monkeypatch):
    product, runner, end = running
    monkeypatch.setattr(appender, "KEPT_BYTES", 1)
    await redis.hset(KEY.record, "stands", "1-1")
    for gate in product.gates[:2]:
        gate.set()
    await wait_until(lambda: product.reached == 3, "the third gate")
    await runner.attempts[KEY.run_id].log.flush()
    await lose_events(redis, 4)
    assert await finish(product, end) == Again(0, rows := end.result().rows)
    assert list(rows) == [1]
    record = await store.existing(KEY)
    assert record.status is TurnState.QUEUED
    assert int(await redis.hget(KEY.record, "crashes")) == 0
    await runner.run(KEY.run_id)
    log = await log_of(store)
    assert seqs_of(log) == list(range(len(log)))
    resumed = [data for _, event_type, data in log if event_type == "session.run.resumed"]
    assert [data["reason"] for data in resumed] == ["store_lost"]
    assert (await store.existing(KEY)).status is TurnState.COMPLETED


async def test_steps_that_are_too_large_to_keep_give_the_turn_back(store, redis, running, monkeypatch):
    product, _, end = running
    monkeypatch.setattr(kept_steps, "KEPT_BYTES", 1)
    product.gates[0].set()
    await wait_until(lambda: product.reached == 2, "the second gate")
    await lose_steps(redis)
    assert isinstance(await finish(product, end), Again)
    assert (await store.existing(KEY)).status is TurnState.QUEUED


class Retrying(ChatTurnHooks):
    """A step that fails at first and then succeeds, and another one. It waits at the gate between them."""

    def __init__(self, redis) -> None:
        self.gate = asyncio.Event()
        self.reached = False
        self.calls: list[str] = []
        self.first: dict[str, dict[bytes, bytes]] = {}
        self._redis = redis

    async def produce(self, turn):
        await turn.step("search", self.search, retries=1, backoff_s=0.001)
        self.reached = True
        await self.gate.wait()
        await turn.step("answer", lambda: self.calls.append("answer"))

    async def search(self):
        self.calls.append("search")
        if len(self.calls) == 1:
            raise ValueError
        for name in (KEY.steps, KEY.record):  # the failure is stored
            self.first[name] = await self._redis.hgetall(name)
        return "found"


async def test_a_lost_success_of_a_step_that_had_failed_is_written_again(store, redis, settings):
    product = Retrying(redis)
    runner = TurnRunner(store, TurnQueue(redis, settings), Products({None: product}), WORKER)
    await store.submit(KEY, request())
    writer = asyncio.create_task(runner.appender.run())
    end = asyncio.create_task(runner.run(KEY.run_id))
    await wait_until(lambda: product.reached, "the gate")
    for name, fields in product.first.items():
        await redis.delete(name)
        await redis.hset(name, mapping=fields)
    assert (await store.steps(KEY))[0].status == "failed"
    product.gate.set()
    async with asyncio.timeout(10):
        assert isinstance(await end, Done)
    writer.cancel()
    assert {record.intent: record.status for record in (await store.steps(KEY)).values()}["search"] == "completed"
    assert product.calls == ["search", "search", "answer"]
