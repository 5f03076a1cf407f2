"""What is left of a turn that a full queue refuses: nothing, if the queue is in the same database as the turn.

Otherwise a retry that is refused is an attempt: nobody runs it, but its ledger row is published.
"""

from collections.abc import AsyncIterator

import msgspec
import pytest

from tests.support.turns import KEY, SESSION, WORKER, request, snapshot, submit_and_claim
from turnwire.api.endpoints.intake import Intake
from turnwire.shared import keys
from turnwire.shared.errors import QueueFull
from turnwire.shared.events import RUN_FAILED, encode_event
from turnwire.shared.ledger import decode_row
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.connect import connect
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


@pytest.fixture
async def full_elsewhere(full, settings) -> AsyncIterator[TurnQueue]:
    """The same queue over a client of its own, as if it were in another database."""
    redis = connect(settings.redis_url, connections=2)
    yield TurnQueue(redis, msgspec.structs.replace(settings, max_queued=1))
    await redis.aclose(close_connection_pool=True)


async def failed_once(store) -> None:
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.FAILED, 1, [encode_event(RUN_FAILED, {})], {"error_code": "x"})


async def test_the_sweep_puts_it_on_the_queue_and_the_end_of_that_job_publishes_it(store, redis, full_elsewhere):
    full = full_elsewhere
    await failed_once(store)
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


@pytest.mark.parametrize("is_new", [True, False])
async def test_a_turn_that_is_refused_in_the_same_database_leaves_nothing(store, redis, full, is_new):
    if not is_new:
        await failed_once(store)
    before = await snapshot(redis)
    intake = Intake(store, full, UserSessions(store.redis, store.settings))
    with pytest.raises(QueueFull):
        await intake.submit(KEY, request())
    assert await snapshot(redis) == before


async def test_a_turn_of_a_user_that_is_refused_is_not_announced_any_more(store, redis, full):
    intake = Intake(store, full, UserSessions(store.redis, store.settings))
    with pytest.raises(QueueFull):
        await intake.submit(KEY, request(user="ada"))
    assert await redis.zscore(keys.OPEN_TURNS, KEY.run_id) is None


async def test_a_new_turn_that_is_refused_leaves_nothing(store, redis, full_elsewhere):
    intake = Intake(store, full_elsewhere, UserSessions(store.redis, store.settings))
    with pytest.raises(QueueFull):
        await intake.enqueue(await intake.submit(KEY, request()))
    assert await redis.zscore(keys.OPEN_TURNS, KEY.run_id) is None
    assert await redis.exists(KEY.ledger) == 0
