"""finish: what becomes of a job whose run has ended."""

import pytest

from tests.support.turns import KEY, OTHER_WORKER, WORKER, snapshot
from turnwire.shared import keys

RUN_ID = KEY.run_id


@pytest.fixture
async def taken(queue):
    await queue.enqueue(RUN_ID)
    [taken], _ = await queue.take(WORKER, 1)
    return taken


async def test_an_ended_turn_leaves_nothing_in_the_queue(redis, queue, taken):
    await queue.end(WORKER, taken)
    assert await redis.keys("*") == [keys.LISTED.encode()]


async def test_a_parked_turn_stays_among_the_open_ones(redis, queue, taken):
    await queue.park(WORKER, taken)
    assert sorted(await redis.keys("*")) == [keys.LISTED.encode(), keys.OPEN_TURNS.encode()]


async def test_a_job_given_back_is_due_and_hinted_at_once(redis, queue, taken):
    await queue.again(WORKER, taken)
    assert await redis.lrange(keys.HINTS, 0, -1) == [RUN_ID.encode()]
    assert (await queue.take(OTHER_WORKER, 1))[0] == [taken]


async def test_a_job_given_back_for_later_waits_without_a_hint(redis, queue, taken):
    await queue.again(WORKER, taken, 5000)
    assert await redis.llen(keys.HINTS) == 0
    jobs, wait_ms = await queue.take(OTHER_WORKER, 1)
    assert jobs == []
    assert 4000 < wait_ms <= 5000


@pytest.mark.parametrize("outcome", ["end", "park", "again"])
async def test_a_job_that_was_enqueued_meanwhile_runs_again_at_once(redis, queue, taken, outcome):
    await queue.enqueue(RUN_ID)
    await getattr(queue, outcome)(WORKER, taken, *([60_000] if outcome == "again" else []))
    [again], _ = await queue.take(OTHER_WORKER, 1)
    assert again.job_id == RUN_ID
    assert await redis.zscore(keys.OPEN_TURNS, RUN_ID) is not None


@pytest.mark.parametrize("outcome", ["end", "park", "again"])
async def test_a_job_that_another_worker_took_meanwhile_is_left_alone(redis, queue, taken, outcome):
    await redis.set(keys.in_progress(RUN_ID), OTHER_WORKER, px=5000)
    before = await snapshot(redis)
    assert before.pop(keys.claims(WORKER).encode())
    await getattr(queue, outcome)(WORKER, taken)
    assert await snapshot(redis) == before


@pytest.mark.parametrize("outcome", ["end", "park"])
async def test_repeating_it_changes_nothing(redis, queue, taken, twice, outcome):
    await twice(lambda: getattr(queue, outcome)(WORKER, taken))
    assert await redis.zcard(keys.QUEUE) == 0
    assert await redis.exists(keys.job(RUN_ID), keys.in_progress(RUN_ID)) == 0


async def test_giving_back_twice_leaves_one_job(redis, queue, taken, twice):
    await twice(lambda: queue.again(WORKER, taken))
    assert len((await queue.take(OTHER_WORKER, 5))[0]) == 1


async def test_ending_twice_does_not_end_what_was_enqueued_in_between(redis, queue, taken):
    await queue.end(WORKER, taken)
    await queue.enqueue(RUN_ID)
    await queue.end(WORKER, taken)
    assert len((await queue.take(OTHER_WORKER, 1))[0]) == 1


async def test_a_claim_that_lapsed_but_that_nobody_took_is_still_ended(redis, queue, taken):
    await redis.delete(keys.in_progress(RUN_ID))
    await queue.end(WORKER, taken)
    assert await redis.keys("*") == [keys.LISTED.encode()]


async def test_a_server_that_forgot_the_script_gets_it_again(redis, queue, taken):
    await redis.script_flush()
    await queue.end(WORKER, taken)
    assert await redis.keys("*") == [keys.LISTED.encode()]
