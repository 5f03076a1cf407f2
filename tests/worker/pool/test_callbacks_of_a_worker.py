"""A worker makes the callbacks of its turns, also while every slot for turns is taken."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.support.turns import claim, request
from tests.support.waiting import wait_until
from tests.worker.backends.rawserver import HANG, RawServer, raw_server, reply
from turnwire.shared import keys
from turnwire.shared.errors import SettingsError
from turnwire.shared.keys import SessionKey
from turnwire.shared.lifecycle import TurnState
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.pool import dispatch
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products

SECRET = "whsec_" + base64.b64encode(b"1" * 32).decode()
QUICK, LONG = SessionKey("acme", "quick").turn(0), SessionKey("acme", "long").turn(0)


class Plays(ChatTurnHooks):
    """The turn of the session `long` runs until the test ends."""

    def __init__(self) -> None:
        self.running = 0
        self.stored: set[str] = set()

    async def persist_assistant_message(self, turn, final_text):
        self.stored.add(turn.session_id)

    async def produce(self, turn):
        if turn.session_id == "long":
            self.running += 1
            await asyncio.Event().wait()
        yield {"type": "result", "data": {"finalText": "x"}}


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with raw_server() as server:
        yield server


@asynccontextmanager
async def working(settings, hooks, server) -> AsyncIterator[TurnWorker]:
    port = server.url.rpartition(":")[2].partition("/")[0]
    allowed = {
        "callback_hosts": f"127.0.0.1:{port}",
        "callback_secret": SECRET,
        "callback_private": True,
        "callback_timeout_s": 60,
    }
    changed = msgspec.structs.replace(settings, drain_s=0.0, max_jobs=1, **allowed)
    worker = TurnWorker(changed, Products({None: hooks}))
    running = asyncio.create_task(worker.main())
    try:
        yield worker
    finally:
        worker.drain()
        await running
        await worker.close()


async def test_the_end_of_a_turn_is_told_and_nothing_is_left(settings, store, queue, redis, server):
    server.play(reply(503))
    server.play(reply(204))
    async with working(settings, Plays(), server):
        await store.submit(QUICK, request(callback=server.url))
        await queue.enqueue(QUICK.run_id)
        await server.until(lambda: len(server.requests) == 1)
        job = keys.CALLBACK_PREFIX + QUICK.run_id
        await wait_until(lambda: not_claimed(redis, job), "the first try to end")
        await redis.hset(QUICK.record, "callback_at", 0)
        await redis.zadd(keys.QUEUE, {job: 0})
        await redis.rpush(keys.HINTS, job)
        await server.until(lambda: len(server.requests) == 2)
        await wait_until(lambda: nothing_left(redis, job), "the job to end")
    first, second = server.requests
    assert msgspec.json.decode(second.body)["type"] == "turn.completed"
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def not_claimed(redis, job: str) -> bool:
    return not await redis.exists(keys.in_progress(job))


async def nothing_left(redis, job: str) -> bool:
    return not await redis.exists(keys.CALLBACKS, keys.job(job), keys.QUEUE)


async def test_it_is_told_while_every_slot_for_turns_is_taken(settings, store, queue, server, monkeypatch):
    monkeypatch.setattr(dispatch, "OUTBOX_LOOK_S", 0.05)
    server.play(reply(200))
    hooks = Plays()
    async with working(settings, hooks, server):
        await store.submit(LONG, request())
        await queue.enqueue(LONG.run_id)
        await wait_until(lambda: hooks.running == 1, "the slot to be taken")
        await store.submit(QUICK, request(callback=server.url))
        await store.cancel(QUICK, "")
        await queue.enqueue_callback(QUICK.run_id)
        await server.until(lambda: len(server.requests) == 1)
    assert msgspec.json.decode(server.requests[0].body)["data"]["status"] == "cancelled"


async def test_servers_that_do_not_answer_hold_up_no_answer_that_is_to_be_persisted(settings, store, queue, server):
    server.play(HANG)
    hooks = Plays()
    async with working(settings, hooks, server):
        for index in range(3):  # more than there are slots for callbacks
            key = QUICK.session.turn(index)
            await store.submit(key, request(callback=server.url, on_busy="concurrent"))
            await queue.enqueue(key.run_id)
        await server.until(lambda: bool(server.requests))
        key = SessionKey("acme", "late").turn(0)
        await store.submit(key, request())
        claimed = await claim(store, key)
        await store.settle(claimed, TurnState.COMPLETED, 1, [], {"persist": "pending", "final_text": "x"})
        await queue.enqueue_persist(key.run_id)
        await wait_until(lambda: "late" in hooks.stored, "the answer to be persisted")


async def test_a_worker_does_not_start_without_the_secret(settings):
    with pytest.raises(SettingsError, match="TURNWIRE_CALLBACK_SECRET"):
        TurnWorker(msgspec.structs.replace(settings, callback_hosts="hooks.example.com"), Products({None: Plays()}))


async def test_a_callback_waits_in_the_line_of_its_own_tenant(queue, redis):
    await queue.enqueue_callback(QUICK.run_id)
    assert await redis.keys("turnwire:waiting:*") == [b"turnwire:waiting:default:acme"]
    [taken], _ = await queue.take("worker/1", 1)
    assert await redis.keys("turnwire:waiting:*") == []
    await queue.end("worker/1", taken)
