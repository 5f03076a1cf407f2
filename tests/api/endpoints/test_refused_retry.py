"""A retry that the queue refuses is an attempt: nobody runs it, but its ledger row is published."""

import msgspec
import pytest

from tests.support.turns import KEY, SESSION, WORKER, request, submit_and_claim
from turnwire.api.endpoints.intake import Intake
from turnwire.shared import keys
from turnwire.shared.errors import QueueFull
from turnwire.shared.events import RUN_FAILED, encode_event
from turnwire.shared.ledger import decode_row
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.user_sessions import UserSessions
from turnwire.worker.attempt.outcome import Done
from turnwire.worker.attempt.run import TurnRunner
from turnwire.worker.pool.sweep import Sweep
from turnwire.worker.products import Products


@pytest.fixture
async def full(redis, settings) -> TurnQueue:
    queue = TurnQueue(redis, msgspec.structs.replace(settings, max_queued=1))
    await queue.enqueue(SESSION.turn(9).run_id)
    return queue


async def test_the_sweep_puts_it_on_the_queue_and_the_end_of_that_job_publishes_it(store, redis, full):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.FAILED, 1, [encode_event(RUN_FAILED, {})], {"error_code": "x"})
    intake = Intake(store, full, UserSessions(store.redis, store.settings))
    with pytest.raises(QueueFull):
        await intake.enqueue(await intake.submit(KEY, request()))
    await redis.zadd(keys.OPEN_TURNS, {KEY.run_id: 1}, xx=True)
    assert await Sweep(store, full, WORKER).once() == 1
    taken = next(job for job in (await full.take(WORKER, 5))[0] if job.job_id == KEY.run_id)
    end = await TurnRunner(store, full, Products({}), WORKER).run(KEY.run_id)
    assert isinstance(end, Done)
    await full.end(WORKER, taken, end.rows)
    rows = [decode_row(fields[1]) for _, fields in await redis.xrange(keys.LEDGER)]
    assert [(row.attempt, row.code) for row in rows] == [(1, "x"), (2, "queue_full")]


async def test_a_new_turn_that_is_refused_leaves_nothing(store, redis, full):
    intake = Intake(store, full, UserSessions(store.redis, store.settings))
    with pytest.raises(QueueFull):
        await intake.enqueue(await intake.submit(KEY, request()))
    assert await redis.zscore(keys.OPEN_TURNS, KEY.run_id) is None
    assert await redis.exists(KEY.ledger) == 0
