"""TurnWorker: dispatches at once, drains, survives its connections, costs little while idle."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from tests.support.product import HOLD, Product, Scripted, text
from tests.support.turns import KEY, SESSION, log_of, lose_lease, request, take_over, types_of
from tests.support.waiting import LOAD_S, let_pass, wait_until
from turnwire.shared import keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.lanes import Lane
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.queue import TurnQueue
from turnwire.worker.pool.dispatch import RESERVED_PART
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products

RUN_ID = KEY.run_id
IDLE_S = 5.0  # as long as three heartbeats, so that a fourth one counts little
MOST_COMMANDS_PER_S = 14  # of an idle worker, those inside scripts included; measured over 10 s: 10.5


class StartedWorker(TurnWorker):
    """A worker, and the task in which it runs."""

    ran: asyncio.Task[None]


@pytest.fixture
async def worker_of(redis, settings) -> AsyncIterator[Callable[..., Any]]:
    """Starts workers in this process; they are drained at the end."""
    started: list[tuple[TurnWorker, asyncio.Task[None]]] = []

    async def start(hooks: Any, **changes: Any) -> StartedWorker:
        worker = StartedWorker(msgspec.structs.replace(settings, **changes), Products({None: hooks}))
        started.append((worker, asyncio.create_task(worker.main())))
        await wait_until(lambda: redis.hexists(keys.WORKERS, worker.id), "the worker to register")
        worker.ran = started[-1][1]
        return worker

    yield start
    for worker, main in started:
        worker.drain()
        worker.drain()
        await main
        await worker.close()


@pytest.fixture
def accept(store, queue):
    """What the API does with a request."""

    async def accept(key=KEY, **fields):
        await store.submit(key, request(**fields))
        await queue.enqueue(key.run_id)

    return accept


def ended(store, key=KEY):
    async def look():
        record = await store.record(key)
        return record if record.terminal else None

    return look


async def test_c70_a_turn_runs_to_its_end_with_nobody_reading(store, redis, accept, worker_of):
    product = Product(text("hi"))
    await worker_of(product)
    await accept()
    record = await wait_until(ended(store), "the turn to end")
    assert (record.status, record.final_text) == (TurnState.COMPLETED, "HI")
    await wait_until(lambda: _nothing_queued(redis), "the job to be gone")


async def _nothing_queued(redis) -> bool:
    names = [keys.QUEUE, keys.OPEN_TURNS, keys.job(RUN_ID), keys.in_progress(RUN_ID)]
    return await redis.exists(*names) == 0


async def test_an_idle_worker_starts_at_once_without_polling(accept, worker_of):
    product = Scripted(HOLD)
    await worker_of(product, poll_s=30.0)
    await accept()
    await wait_until(product.holding.is_set, "the turn to start")
    product.gate.set()


async def test_a_turn_that_waited_before_the_worker_came_is_found(store, accept, worker_of):
    await accept()
    await worker_of(Scripted(text("x")), poll_s=30.0)
    await wait_until(ended(store), "the turn to end")


async def test_turns_run_side_by_side_up_to_the_limit(redis, accept, worker_of):
    product = Scripted(HOLD)
    worker = await worker_of(product, max_jobs=2)
    for index in range(3):
        await accept(SESSION.turn(index), on_busy="concurrent")
    await wait_until(lambda: len(product.turns) == 2, "two turns to run")
    assert len(worker.tasks) == 2
    product.gate.set()
    await wait_until(lambda: len(product.turns) == 3, "the third one")


async def test_a_reserved_slot_waits_for_a_tenant_that_runs_nothing_here(accept, worker_of):
    product = Scripted(HOLD)
    await worker_of(product, max_jobs=3, reserved_slots=1)
    for index in range(4):
        await accept(SESSION.turn(index), on_busy="concurrent")
    await wait_until(lambda: len(product.turns) == 2, "two turns of the first tenant to run")
    await accept(SessionKey("quiet", "s").turn(0))
    await wait_until(lambda: len(product.turns) == 3, "the other tenant's turn to run at once")
    assert product.turns[2].tenant_id == "quiet"
    product.gate.set()
    await wait_until(lambda: len(product.turns) == 5, "all others")


async def test_with_reserved_slots_many_turns_are_taken_in_small_parts(accept, worker_of, monkeypatch):
    product, counts, take = Scripted(HOLD), [], TurnQueue.take

    async def counted(self, worker, count, **more):
        counts.append(count)
        return await take(self, worker, count, **more)

    monkeypatch.setattr(TurnQueue, "take", counted)
    for index in range(10):
        await accept(SESSION.turn(index), on_busy="concurrent")
    await worker_of(product, max_jobs=40, reserved_slots=2)
    await wait_until(lambda: len(product.turns) == 10, "all turns to run")
    assert max(counts) == RESERVED_PART
    product.gate.set()


async def test_a_worker_takes_the_turns_of_its_pool_alone(store, redis, queue, worker_of):
    product = Scripted(text("x"))
    await worker_of(product, pools="gpu", poll_s=30.0)
    for index, lane in enumerate((Lane(), Lane("gpu"))):
        await store.submit(SESSION.turn(index), request(on_busy="concurrent"))
        await queue.enqueue(SESSION.turn(index).run_id, lane=lane)
    await wait_until(ended(store, SESSION.turn(1)), "the turn of its pool to end")
    assert [turn.turn_index for turn in product.turns] == [1]
    assert await redis.zcard(keys.QUEUE) >= 1


async def test_the_turns_of_a_session_run_in_order(store, accept, worker_of):
    product = Scripted(text("x"))
    await worker_of(product, poll_s=30.0)
    for index in (2, 1, 0):
        await store.submit(SESSION.turn(index), request())
    for index in (2, 1, 0):
        await accept(SESSION.turn(index))
    await wait_until(ended(store, SESSION.turn(2)), "the last one to end")
    assert [turn.turn_index for turn in product.turns] == [0, 1, 2]


async def test_a_hint_that_was_lost_costs_a_poll_at_most(store, redis, worker_of):
    await worker_of(Scripted(text("x")), poll_s=0.2)
    await store.submit(KEY, request())
    await redis.zadd(keys.QUEUE, {RUN_ID: 1})  # what an enqueue leaves, but for the hint
    await wait_until(ended(store), "the turn to end", limit_s=0.2 + LOAD_S)


async def test_a_drained_worker_lets_a_turn_finish(store, accept, worker_of):
    product = Scripted(HOLD, text("x"))
    worker = await worker_of(product)
    await accept()
    await wait_until(product.holding.is_set, "the turn to run")
    worker.drain()
    await accept(SESSION.turn(1), on_busy="concurrent")
    product.gate.set()
    await worker.ran
    assert (await store.record(KEY)).status is TurnState.COMPLETED
    assert (await store.record(SESSION.turn(1))).status is TurnState.QUEUED


async def test_a_turn_that_does_not_finish_in_time_is_handed_over_at_once(store, redis, accept, worker_of):
    product = Scripted(text("half"), HOLD)
    worker = await worker_of(product, drain_s=0.0)
    await accept()
    await wait_until(product.holding.is_set, "the turn to run")
    worker.drain()
    await worker.ran
    assert (await store.record(KEY)).status is TurnState.QUEUED
    product.gate.set()
    await worker_of(product, poll_s=30.0)
    record = await wait_until(ended(store), "another worker to finish it")
    assert (record.status, record.attempt) == (TurnState.COMPLETED, 2)
    assert [data["reason"] for _, kind, data in await log_of(store) if kind == "session.run.resumed"] == ["handover"]
    assert await redis.hget(KEY.record, "crashes") == b"0"


async def test_a_worker_that_stopped_is_off_the_list_and_owns_nothing(redis, queue, accept, worker_of, settings):
    worker = TurnWorker(settings, Products({None: Scripted()}))
    main = asyncio.create_task(worker.main())
    await wait_until(lambda: redis.hexists(keys.WORKERS, worker.id), "the worker to register")
    worker.drain()
    await main
    await worker.close()
    assert await queue.workers() == {}
    assert await redis.keys(keys.IN_PROGRESS_PREFIX + "*") == []


async def test_a_killed_connection_is_opened_again(store, redis, accept, worker_of):
    await worker_of(Scripted(text("x")), poll_s=30.0)
    await wait_until(lambda: _blocked(redis), "the worker to wait for a hint")
    assert await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") > 0
    await accept()
    assert (await wait_until(ended(store), "the turn to end")).status is TurnState.COMPLETED


async def _blocked(redis) -> bool:
    return (await redis.info("clients"))["blocked_clients"] > 0


async def test_the_heartbeat_keeps_a_lease_that_is_shorter_than_the_turn(store, redis, accept, worker_of):
    product = Scripted(HOLD, text("x"))
    await worker_of(product, lease_ms=300)
    await accept()
    await wait_until(product.holding.is_set, "the turn to run")
    await let_pass(0.9)
    product.gate.set()
    assert (await wait_until(ended(store), "the turn to end")).attempt == 1


async def test_a_lost_lease_stops_the_turn_within_a_heartbeat(store, accept, worker_of):
    product = Product(text("half"), HOLD)
    await worker_of(product, lease_ms=300)
    await accept()
    await wait_until(product.holding.is_set, "the turn to run")
    await take_over(store)
    await wait_until(lambda: product.closed, "the producer to be closed")
    assert (await store.record(KEY)).attempt == 2
    assert product.persisted == {}


async def test_a_cancel_reaches_the_worker_at_once(store, accept, worker_of):
    product = Scripted(HOLD)
    await worker_of(product, lease_ms=180_000)  # its heartbeat, which comes every minute, would be too late
    await accept()
    await wait_until(product.holding.is_set, "the turn to run")
    await store.cancel(KEY)
    record = await wait_until(ended(store), "the turn to end")
    assert record.status is TurnState.CANCELLED


async def test_a_dead_workers_turn_is_taken_over(store, queue, accept, worker_of):
    await accept()
    [_], _ = await queue.take("host/9/dddddd", 1)
    await store.claim(KEY, "host/9/dddddd")
    await lose_lease(store)
    await queue.redis.delete(keys.in_progress(RUN_ID))
    await queue.redis.zadd(keys.QUEUE, {RUN_ID: 1})
    await worker_of(Scripted(text("x")))
    record = await wait_until(ended(store), "the turn to end")
    assert record.attempt == 2
    assert "session.run.resumed" in types_of(await log_of(store))


async def test_an_idle_worker_costs_few_commands(redis, worker_of, record_property):
    await worker_of(Scripted(), lease_ms=5000, poll_s=3.0)
    await wait_until(lambda: redis.exists(keys.REBUILDING), "the first look of the sweep, which costs more")
    await let_pass(0.3)
    before, began_s = await _commands(redis), await _now_s(redis)
    await let_pass(IDLE_S)
    after, ended_s = await _commands(redis), await _now_s(redis)
    counted = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    counted.pop("cmdstat_info", None)  # our own
    counted["cmdstat_time"] -= 1
    per_s = sum(counted.values()) / (ended_s - began_s)
    record_property("commands_per_s", per_s)
    assert per_s <= MOST_COMMANDS_PER_S, counted


async def _now_s(redis) -> float:
    seconds, microseconds = await redis.time()
    return float(seconds) + microseconds / 1e6


async def _commands(redis) -> dict[str, int]:
    return {name: stats["calls"] for name, stats in (await redis.info("commandstats")).items()}
