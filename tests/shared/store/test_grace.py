"""After an outage, or a step of the clock, claims that lapsed because nobody could extend them are left alone."""

import pytest

from tests.support.turns import KEY, OTHER_WORKER, SESSION, WORKER
from turnwire.shared import keys
from turnwire.shared.store.queue import IN_LINE_MS

RUN_ID = KEY.run_id


@pytest.fixture
async def lapsed(queue, redis, settings):
    """A job whose claim has lapsed, and a function that says how many ms ago the last heartbeat came."""
    await queue.enqueue(RUN_ID)
    await queue.take(WORKER, 1)
    await queue.extend(WORKER, b"", [RUN_ID])
    score = await redis.zscore(keys.QUEUE, RUN_ID)
    await redis.delete(keys.in_progress(RUN_ID))
    await redis.zadd(keys.QUEUE, {RUN_ID: score - settings.lease_ms - 1000})

    async def last_beat(ago_ms: int) -> None:
        seconds, microseconds = await redis.time()
        await redis.set(keys.BEAT, seconds * 1000 + microseconds // 1000 - ago_ms, px=60_000)

    return last_beat


async def taken(queue) -> list[str]:
    jobs, _ = await queue.take(OTHER_WORKER, 10)
    return [job.job_id for job in jobs]


async def test_a_lapsed_claim_is_taken_over_while_heartbeats_come(queue, lapsed):
    await lapsed(0)
    assert await taken(queue) == [RUN_ID]


async def test_it_is_left_alone_while_none_has_come(queue, lapsed, settings):
    await lapsed(settings.lease_ms)
    assert await taken(queue) == []


async def test_it_is_left_alone_after_the_first_one_and_then_taken_over(queue, redis, lapsed, settings):
    await lapsed(settings.lease_ms)
    await queue.extend(OTHER_WORKER, b"", [])
    assert await taken(queue) == []
    assert settings.lease_ms / 3 < await redis.pttl(keys.GRACE) <= settings.lease_ms / 3 + 1000
    await redis.delete(keys.GRACE)  # its time is over
    score = await redis.zscore(keys.QUEUE, RUN_ID)
    await redis.zadd(keys.QUEUE, {RUN_ID: score - 600})
    assert await taken(queue) == [RUN_ID]


async def test_its_own_worker_extends_it_meanwhile(queue, redis, lapsed, settings):
    await lapsed(settings.lease_ms)
    await queue.extend(OTHER_WORKER, b"", [])
    await queue.extend(WORKER, b"", [RUN_ID])
    assert await redis.get(keys.in_progress(RUN_ID)) == WORKER.encode()
    await redis.delete(keys.GRACE)
    assert await taken(queue) == []


async def test_jobs_that_wait_do_not_wait_for_it(queue, lapsed, settings):
    await lapsed(settings.lease_ms)
    waiting = SESSION.turn(7).run_id
    await queue.enqueue(waiting)
    assert await taken(queue) == [waiting]


async def test_a_dead_workers_jobs_do_not_wait_for_it(queue, lapsed, settings):
    await queue.bury(WORKER, b"", [RUN_ID])
    await queue.take(WORKER, 1)
    await queue.extend(WORKER, b"", [RUN_ID])
    await lapsed(settings.lease_ms)
    assert await queue.bury(WORKER, b"", [RUN_ID])
    assert await taken(queue) == [RUN_ID]


async def test_jobs_that_were_put_off_are_due_in_time_after_the_clock_went_back(queue, redis, lapsed):
    waiting = SESSION.turn(7).run_id
    await queue.enqueue(waiting)
    since_ms = await redis.zscore(keys.QUEUE, waiting) + IN_LINE_MS
    before = since_ms, await redis.zscore(keys.OPEN_TURNS, waiting)
    step_ms = 60_000
    for zset, score in zip((keys.QUEUE, keys.OPEN_TURNS), before, strict=True):
        await redis.zadd(zset, {waiting: score + step_ms})  # as they look once the clock is behind
    await lapsed(-step_ms)
    assert await taken(queue) == []
    await queue.extend(OTHER_WORKER, b"", [])
    assert await taken(queue) == [waiting]
    assert abs(await redis.zscore(keys.OPEN_TURNS, waiting) - before[1]) < 1000
    assert await redis.exists(keys.GRACE)


async def test_the_clock_went_back_before_there_was_a_worker(queue, redis):
    put_off, waiting, step_ms = SESSION.turn(7).run_id, RUN_ID, 60_000
    await queue.enqueue(put_off)
    [job], _ = await queue.take(WORKER, 1)
    await queue.again(WORKER, job)
    await queue.enqueue(waiting)
    for job_id in (put_off, waiting):  # as they look once the clock is behind
        await redis.zincrby(keys.QUEUE, step_ms, job_id)
    assert await taken(queue) == [waiting], "it stands in a line, which does not go by the clock"
    await queue.extend(OTHER_WORKER, b"", [])
    assert await taken(queue) == [], "no job tells of the step any more"
    new = SESSION.turn(8).run_id
    await queue.enqueue(new)
    await redis.zincrby(keys.QUEUE, step_ms, new)
    await redis.delete(keys.BEAT)
    await queue.extend(OTHER_WORKER, b"", [])
    assert await taken(queue) == [put_off, new]


async def test_a_job_for_later_is_no_step_of_the_clock(queue, redis):
    await queue.enqueue(RUN_ID)
    [job], _ = await queue.take(WORKER, 1)
    await queue.again(WORKER, job, 60_000)
    await queue.extend(OTHER_WORKER, b"", [])
    assert await taken(queue) == []
    assert not await redis.exists(keys.GRACE)
