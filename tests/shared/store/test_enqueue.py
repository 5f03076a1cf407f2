"""enqueue: arq's own format, one job a turn, a bounded queue."""

from typing import Any

import msgspec
import pytest
from arq.connections import ArqRedis
from arq.jobs import Job, JobStatus

from tests.support.turns import KEY, OTHER_WORKER, SESSION, WORKER, snapshot
from turnwire.shared import keys
from turnwire.shared.errors import QueueFull
from turnwire.shared.store.job_bytes import decode_job, encode_job
from turnwire.shared.store.queue import IN_LINE_MS, RUN_TURN, TurnQueue

RUN_ID = KEY.run_id


def arq_job(redis: ArqRedis) -> Job:
    return Job(RUN_ID, redis, _deserializer=decode_job)


async def test_an_enqueued_turn_is_due_at_once_open_and_hinted(redis, queue):
    assert await queue.enqueue(RUN_ID) is True
    now_s, _ = await redis.time()
    assert await redis.zscore(keys.QUEUE, RUN_ID) + IN_LINE_MS == pytest.approx(now_s * 1000, abs=2000)
    assert await redis.zscore(keys.OPEN_TURNS, RUN_ID) > now_s * 1000
    assert await redis.lrange(keys.HINTS, 0, -1) == [RUN_ID.encode()]
    assert await redis.pttl(keys.job(RUN_ID)) > 0


async def test_arqs_own_tools_read_the_job(redis, queue):
    await queue.enqueue(RUN_ID)
    job = arq_job(redis)
    assert await job.status() is JobStatus.queued
    info = await job.info()
    assert info is not None
    told: tuple[Any, ...] = (info.function, info.args, info.job_try)
    assert told == (RUN_TURN, [RUN_ID], None)
    arq = ArqRedis(redis.connection_pool, job_serializer=encode_job, job_deserializer=decode_job)
    [queued] = await arq.queued_jobs()
    assert (queued.job_id, queued.function) == (RUN_ID, RUN_TURN)


async def test_arq_sees_a_taken_job_as_in_progress_and_an_ended_one_as_gone(redis, queue):
    await queue.enqueue(RUN_ID)
    [taken], _ = await queue.take(WORKER, 1)
    assert await arq_job(redis).status() is JobStatus.in_progress
    await queue.end(WORKER, taken)
    assert await arq_job(redis).status() is JobStatus.not_found


async def test_a_job_that_waits_is_not_enqueued_twice(redis, queue):
    assert await queue.enqueue(RUN_ID) is True
    job = await redis.get(keys.job(RUN_ID))
    assert await queue.enqueue(RUN_ID) is False
    assert await redis.get(keys.job(RUN_ID)) == job
    assert await redis.llen(keys.HINTS) == 1
    assert await redis.zcard(keys.QUEUE) == 1


async def test_repeating_an_enqueue_leaves_one_job(redis, queue, twice):
    assert await twice(lambda: queue.enqueue(RUN_ID)) is False
    taken, _ = await queue.take(WORKER, 10)
    assert [job.job_id for job in taken] == [RUN_ID]


async def test_a_job_enqueued_while_it_runs_stays_out_of_sight_and_runs_again(redis, queue):
    await queue.enqueue(RUN_ID)
    [taken], _ = await queue.take(WORKER, 1)
    assert await queue.enqueue(RUN_ID) is True
    assert (await queue.take(OTHER_WORKER, 1))[0] == []
    await queue.end(WORKER, taken)
    [again], _ = await queue.take(OTHER_WORKER, 1)
    assert again.job_id == RUN_ID
    assert again.job != taken.job


@pytest.fixture
def full_queue(redis, settings):
    """Takes two jobs."""
    return TurnQueue(redis, msgspec.structs.replace(settings, max_queued=2))


async def test_a_full_queue_refuses_and_writes_nothing(redis, full_queue):
    await full_queue.enqueue(SESSION.turn(1).run_id)
    await full_queue.enqueue(SESSION.turn(2).run_id)
    before = await snapshot(redis)
    with pytest.raises(QueueFull) as refused:
        await full_queue.enqueue(RUN_ID)
    assert refused.value.retryable
    assert await snapshot(redis) == before


async def test_callbacks_that_a_dead_server_keeps_waiting_do_not_fill_the_queue(full_queue):
    for index in range(1, 5):
        await full_queue.enqueue_callback(SESSION.turn(index).run_id)
    await full_queue.enqueue(RUN_ID)
    await full_queue.enqueue(SESSION.turn(1).run_id)
    with pytest.raises(QueueFull):
        await full_queue.enqueue(SESSION.turn(2).run_id)


async def test_a_refused_turn_stays_announced_until_somebody_forgets_it(redis, full_queue):
    """Between the refusal and the withdrawal its API process may die: then only the sweep knows of the turn."""
    await full_queue.enqueue(SESSION.turn(1).run_id)
    await full_queue.enqueue(SESSION.turn(2).run_id)
    await full_queue.announce(RUN_ID)
    with pytest.raises(QueueFull):
        await full_queue.enqueue(RUN_ID)
    assert await redis.zscore(keys.OPEN_TURNS, RUN_ID) is not None


async def test_a_full_queue_still_knows_the_jobs_that_are_in_it(full_queue):
    await full_queue.enqueue(SESSION.turn(1).run_id)
    await full_queue.enqueue(RUN_ID)
    assert await full_queue.enqueue(RUN_ID) is False


async def test_a_turn_that_was_accepted_before_is_never_refused(full_queue):
    for index in range(4):
        assert await full_queue.enqueue(SESSION.turn(index).run_id, accepted=True) is True


async def test_the_list_of_hints_is_bounded(redis, queue):
    await redis.rpush(keys.HINTS, *["old"] * 1500)
    await queue.enqueue(RUN_ID)
    assert await redis.llen(keys.HINTS) == 1000
    assert await redis.lindex(keys.HINTS, -1) == RUN_ID.encode()


async def test_an_expired_job_is_made_anew(redis, queue):
    await queue.enqueue(RUN_ID)
    await redis.delete(keys.job(RUN_ID))
    assert await queue.enqueue(RUN_ID) is True
    [taken], _ = await queue.take(WORKER, 1)
    assert decode_job(taken.job)["f"] == RUN_TURN


async def test_a_server_that_forgot_the_script_gets_it_again(redis, queue):
    await redis.script_flush()
    assert await queue.enqueue(RUN_ID) is True
    assert await redis.zcard(keys.QUEUE) == 1


def test_a_job_survives_its_own_format():
    job = {"t": None, "f": RUN_TURN, "a": (RUN_ID,), "k": {"nonce": "ab"}, "et": 1}
    assert decode_job(encode_job(job)) == job | {"a": [RUN_ID]}
