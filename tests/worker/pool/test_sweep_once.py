"""The sweep puts back open turns that nobody works on, and forgets those that have ended."""

import pytest

from tests.support.scraped import grows
from tests.support.turns import KEY, SESSION, WORKER, request, submit_and_claim
from turnwire.shared import keys
from turnwire.shared.events import RUN_COMPLETED, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.worker.pool.sweep import Sweep

RUN_ID = KEY.run_id


@pytest.fixture
def sweep(store, queue):
    return Sweep(store, queue, WORKER)


async def make_due(redis, *run_ids: str) -> None:
    await redis.zadd(keys.OPEN_TURNS, dict.fromkeys(run_ids, 1))


async def test_a_submit_that_was_cut_before_its_job_is_healed(store, redis, queue, sweep):
    await queue.announce(RUN_ID)
    await store.submit(KEY, request())
    await make_due(redis, RUN_ID)
    with grows("worker", "turnwire_sweep_finds_total", kind="turn"):
        assert await sweep.once() == 1
    [taken], _ = await queue.take(WORKER, 1)
    assert taken.job_id == RUN_ID


async def test_a_job_that_waits_already_is_left_alone(store, redis, queue, sweep):
    await store.submit(KEY, request())
    await queue.enqueue(RUN_ID)
    job = await redis.get(keys.job(RUN_ID))
    await make_due(redis, RUN_ID)
    await sweep.once()
    assert await redis.get(keys.job(RUN_ID)) == job
    assert await redis.zcard(keys.QUEUE) == 1


async def test_a_turn_that_ended_without_its_job_gets_one_to_publish_its_ledger(store, redis, queue, sweep):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [encode_event(RUN_COMPLETED, {})], {})
    await make_due(redis, RUN_ID)
    assert await sweep.once() == 1
    [taken], _ = await queue.take(WORKER, 1)
    assert taken.job_id == RUN_ID


@pytest.mark.parametrize("run_id", [SESSION.turn(9).run_id, "no turn at all"])
async def test_what_is_not_there_any_more_is_forgotten(redis, sweep, run_id):
    await make_due(redis, run_id)
    assert await sweep.once() == 1
    assert await redis.zcard(keys.OPEN_TURNS) == 0
    assert await redis.zcard(keys.QUEUE) == 0


async def test_a_full_queue_does_not_keep_a_turn_from_being_put_back(store, redis, settings):
    import msgspec

    from turnwire.shared.store.queue import TurnQueue

    queue = TurnQueue(redis, msgspec.structs.replace(settings, max_queued=1))
    await queue.enqueue(SESSION.turn(1).run_id)
    await store.submit(KEY, request())
    await make_due(redis, RUN_ID)
    await Sweep(store, queue, WORKER).once()
    assert await redis.zcard(keys.QUEUE) == 2


async def test_nothing_due_is_nothing_done(sweep):
    assert await sweep.once() == 0


async def test_a_turn_that_waits_for_the_one_before_it_is_not_enqueued_and_that_one_is_seen(
    store, redis, sweep, caplog
):
    second = SESSION.turn(KEY.index + 1)
    await submit_and_claim(store)
    await store.submit(second, request())
    await make_due(redis, second.run_id)
    assert await sweep.once() == 1
    assert await redis.zcard(keys.QUEUE) == 0
    assert await redis.zscore(keys.OPEN_TURNS, RUN_ID) is not None
    assert await sweep.once() == 0
    assert caplog.messages == []


async def test_a_turn_that_may_run_beside_an_earlier_one_is_put_back(store, redis, queue, sweep):
    second = SESSION.turn(KEY.index + 1)
    await submit_and_claim(store)
    await store.submit(second, request(on_busy="concurrent"))
    await make_due(redis, second.run_id)
    await sweep.once()
    [taken], _ = await queue.take(WORKER, 1)
    assert taken.job_id == second.run_id
