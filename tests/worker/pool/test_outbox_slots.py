"""Answers that wait for the product's store, and turns: neither holds up the other, however many there are."""

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.support.faults import one_lost_reply
from tests.support.product import text
from tests.support.turns import request
from tests.support.waiting import wait_until
from turnwire.shared import keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.queue import TurnQueue
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.pool import dispatch
from turnwire.worker.pool.outbox_slots import SOONEST_PUT_OFF_MS, OutboxSlots
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products


class Shop(ChatTurnHooks):
    """Turns of the session `long` run until the test ends. Its store hangs until it is `up`."""

    def __init__(self):
        self.up = asyncio.Event()
        self.running, self.tries, self.stored = 0, 0, set()

    async def produce(self, turn):
        if turn.session_id.startswith("long"):
            self.running += 1
            await asyncio.Event().wait()
        yield text("x")

    async def persist_assistant_message(self, turn, final_text):
        if turn.session_id.startswith("old"):
            self.tries += 1
            await self.up.wait()
            self.stored.add(turn.session_id)


@pytest.fixture
def answer_waits(store, queue):
    """Leaves answers in the outbox."""

    async def leave(*sessions):
        for session in sessions:
            key = SessionKey("default", session).turn(0)
            await store.submit(key, request())
            claimed = await store.claim(key, "worker/gone")
            await store.settle(claimed, TurnState.COMPLETED, 1, [], {"persist": "pending", "final_text": "x"})
            await queue.enqueue_persist(key.run_id)

    return leave


@pytest.fixture
def ask(store, queue):
    async def ask(session):
        key = SessionKey("default", session).turn(0)
        await store.submit(key, request())
        await queue.enqueue(key.run_id)
        return key

    return ask


@asynccontextmanager
async def working(settings, shop, **changes):
    settings = msgspec.structs.replace(settings, drain_s=0.0, **changes)
    worker = TurnWorker(settings, Products({None: shop}))
    running = asyncio.create_task(worker.main())
    try:
        yield worker
    finally:
        worker.drain()
        await running
        await worker.close()


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(dispatch, "OUTBOX_LOOK_S", 0.05)


async def test_answers_are_persisted_while_every_slot_for_turns_is_taken(settings, answer_waits, ask):
    shop = Shop()
    shop.up.set()
    async with working(settings, shop, max_jobs=2):
        for session in ("long1", "long2", "long3"):  # one more than there are slots: it waits in the queue
            await ask(session)
        await wait_until(lambda: shop.running == 2, "every slot to be taken")
        await answer_waits("old1", "old2")
        await wait_until(lambda: shop.stored == {"old1", "old2"}, "the answers to be persisted")
        assert shop.running == 2


async def test_a_lost_reply_strands_no_answer(settings, redis, answer_waits, ask):
    shop = Shop()
    shop.up.set()
    async with working(settings, shop, max_jobs=1) as worker:
        await ask("long")
        await wait_until(lambda: shop.running == 1, "every slot to be taken")
        with one_lost_reply(worker.queue.redis, resent=False):
            await answer_waits("old")
            await wait_until(lambda: shop.stored == {"old"}, "the answer to be persisted")


async def test_many_answers_find_no_slot_while_the_store_hangs_and_are_persisted_soon_afterwards(
    settings, redis, answer_waits, ask, store
):
    shop = Shop()
    sessions = [f"old{number}" for number in range(60)]
    await answer_waits(*sessions)
    async with working(settings, shop, max_jobs=4):
        jobs = [keys.persist_id(SessionKey("default", session).turn(0).run_id) for session in sessions]

        async def put_off():
            now_s, _ = await redis.time()
            return all(due / 1000 - now_s > 1 for due in await redis.zmscore(keys.QUEUE, jobs))

        await wait_until(put_off, "every answer to be tried or put off for long")
        assert shop.tries == 1
        new = await ask("new")

        async def completed():
            return (await store.existing(new)).status is TurnState.COMPLETED

        await wait_until(completed, "a new turn to complete")
        shop.up.set()
        await redis.zadd(keys.QUEUE, dict.fromkeys(jobs, 1), xx=True)  # the pauses are over
        await wait_until(lambda: len(shop.stored) == len(sessions), "every answer to be persisted", 20)


@pytest.mark.parametrize(
    ("takes_s", "pending", "soonest_ms", "latest_ms"),
    [(0.0, 5000, 100, 200), (0.01, 5000, 900, 3000), (5.0, 50, 4900, 12_000), (5.0, 5000, 60_000, 60_000)],
)
async def test_an_answer_is_put_off_until_about_its_turn_would_come(takes_s, pending, soonest_ms, latest_ms):
    slots = OutboxSlots(100)
    slots.begin("persist:quick")
    slots.begin("persist:slow")
    slots._began_s["persist:slow"] -= takes_s
    assert (slots.free, len(slots)) == (23, 2)
    assert soonest_ms <= slots.put_off_ms(pending) <= latest_ms
    slots.end("persist:slow")
    slots.end("chat:x")
    assert slots.job_ids == ["persist:quick"]


async def test_a_busy_worker_does_not_look_for_answers_after_each_turn(settings, redis, ask, monkeypatch):
    looks = []
    take_answers = TurnQueue.take_answers

    async def counted(self, *args):
        looks.append(args)
        return await take_answers(self, *args)

    monkeypatch.setattr(dispatch, "OUTBOX_LOOK_S", 60.0)
    monkeypatch.setattr(TurnQueue, "take_answers", counted)
    asked = [await ask(f"quick{number}") for number in range(10)]
    async with working(settings, Shop(), max_jobs=1) as worker:
        await wait_until(lambda: worker._dispatch.complete == len(asked), "every turn to end")
    assert [pending for *_, pending in looks] == [keys.PENDING, keys.CALLBACKS]


async def test_an_answer_is_put_off_for_a_moment_when_the_slots_were_freed_meanwhile():
    assert OutboxSlots(4).put_off_ms(5000) == SOONEST_PUT_OFF_MS
