"""extend: the heartbeat keeps a worker's jobs out of everybody's sight."""

from tests.support.turns import KEY, OTHER_WORKER, SESSION, WORKER, snapshot
from turnwire.shared import keys

RUN_ID = KEY.run_id
ENTRY = b'{"pid":1}'


async def take_all(queue, count: int) -> list[str]:
    for index in range(count):
        await queue.enqueue(SESSION.turn(index).run_id)
    taken, _ = await queue.take(WORKER, count)
    return [job.job_id for job in taken]


async def test_it_extends_the_claim_the_score_and_the_sweep(redis, queue, settings):
    await take_all(queue, 1)
    await redis.pexpire(keys.in_progress(RUN_ID), 500)
    await redis.zadd(keys.QUEUE, {RUN_ID: 1})
    await redis.zadd(keys.OPEN_TURNS, {RUN_ID: 1})
    await queue.extend(WORKER, ENTRY, [RUN_ID])
    assert settings.lease_ms - 500 < await redis.pttl(keys.in_progress(RUN_ID)) <= settings.lease_ms
    now_s, _ = await redis.time()
    assert await redis.zscore(keys.QUEUE, RUN_ID) > now_s * 1000 + settings.lease_ms - 1500
    assert await redis.zscore(keys.OPEN_TURNS, RUN_ID) > now_s * 1000


async def test_it_registers_the_worker_also_one_without_jobs(queue):
    await queue.extend(WORKER, ENTRY, [])
    await queue.extend(OTHER_WORKER, b"old", [])
    await queue.extend(OTHER_WORKER, b"new", [])
    assert await queue.workers() == {WORKER: ENTRY, OTHER_WORKER: b"new"}


async def test_a_claim_that_lapsed_but_that_nobody_took_comes_back(redis, queue):
    await take_all(queue, 1)
    await redis.delete(keys.in_progress(RUN_ID))
    await queue.extend(WORKER, ENTRY, [RUN_ID])
    assert await redis.get(keys.in_progress(RUN_ID)) == WORKER.encode()


async def test_only_the_claim_that_another_worker_has_is_left_alone(redis, queue):
    first, second = sorted(await take_all(queue, 2))
    await redis.set(keys.in_progress(first), OTHER_WORKER, px=500)
    score = await redis.zscore(keys.QUEUE, first)
    await queue.extend(WORKER, ENTRY, [first, second])
    assert await redis.get(keys.in_progress(first)) == OTHER_WORKER.encode()
    assert await redis.pttl(keys.in_progress(first)) <= 500
    assert await redis.zscore(keys.QUEUE, first) == score
    assert await redis.pttl(keys.in_progress(second)) > 500


async def test_a_turn_that_is_not_open_any_more_is_not_opened(redis, queue):
    await take_all(queue, 1)
    await redis.zrem(keys.OPEN_TURNS, RUN_ID)
    await queue.extend(WORKER, ENTRY, [RUN_ID])
    assert await redis.zscore(keys.OPEN_TURNS, RUN_ID) is None


async def test_a_job_that_ended_meanwhile_does_not_come_back(redis, queue):
    """A heartbeat that is under way when its job ends: what it writes must not make the job due once more."""
    await queue.enqueue(RUN_ID)
    [taken], _ = await queue.take(WORKER, 1)
    await queue.end(WORKER, taken)
    await queue.extend(WORKER, ENTRY, [RUN_ID])
    assert await redis.zscore(keys.QUEUE, RUN_ID) is None
    assert not await redis.exists(keys.in_progress(RUN_ID))


async def test_repeating_it_changes_nothing(redis, queue, twice):
    await take_all(queue, 2)
    before = {name: content for name, (content, _) in (await snapshot(redis)).items() if b"in-progress" in name}
    await twice(lambda: queue.extend(WORKER, ENTRY, [RUN_ID, SESSION.turn(1).run_id]))
    after = await snapshot(redis)
    assert {name: after[name][0] for name in before} == before


async def test_a_server_that_forgot_the_script_gets_it_again(redis, queue):
    await take_all(queue, 1)
    await redis.script_flush()
    await queue.extend(WORKER, ENTRY, [RUN_ID])
    assert await queue.workers() == {WORKER: ENTRY}
