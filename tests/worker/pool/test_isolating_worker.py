"""A worker that runs a suspect takes nothing else, until others have waited for long."""

import asyncio

import msgspec
import pytest

from tests.support.product import HOLD, Scripted, text
from tests.support.turns import KEY, SESSION, WORKER, request
from tests.support.waiting import let_pass, wait_until
from turnwire.shared import keys
from turnwire.shared.store.queue import Taken
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products

OTHER = SESSION.turn(1)


@pytest.fixture
async def isolating(store, queue, redis, settings):
    """A worker that runs a suspect alone, and the product that holds it."""
    product = Scripted(text("a"), HOLD)
    await store.submit(KEY, request())
    await redis.hset(KEY.record, "company_limit", 1)
    await queue.enqueue(KEY.run_id)
    await queue.set_aside(WORKER, Taken(KEY.run_id, b""), 1)
    worker = TurnWorker(msgspec.structs.replace(settings, max_jobs=8), Products({None: product}))
    main = asyncio.create_task(worker.main())
    await wait_until(product.holding.is_set, "the suspect to run")
    yield product
    product.gate.set()
    worker.drain()
    worker.drain()
    await main
    await worker.close()


async def ask_another(store, queue):
    await store.submit(OTHER, request(on_busy="concurrent"))
    await queue.enqueue(OTHER.run_id)


async def test_a_suspect_runs_alone_and_others_run_when_it_has_ended(isolating, store, queue, redis):
    assert await redis.hget(KEY.record, "company") == b"1"
    await ask_another(store, queue)
    await let_pass(1.5)  # the worker looks every second
    assert len(isolating.turns) == 1
    isolating.gate.set()

    async def both_completed():
        return {(await store.existing(turn)).status for turn in (KEY, OTHER)} == {"completed"}

    await wait_until(both_completed, "both turns", 10)
    assert not await redis.exists(keys.SUSPECTS)


async def test_others_that_have_waited_for_long_run_beside_it_and_its_worker_says_so(isolating, store, queue, redis):
    await ask_another(store, queue)
    now, _ = await redis.time()
    await redis.zadd(keys.QUEUE, {OTHER.run_id: (now - 40) * 1000})
    await wait_until(lambda: len(isolating.turns) == 2, "the other turn beside it", 10)
    assert not await redis.hexists(KEY.record, "company")
