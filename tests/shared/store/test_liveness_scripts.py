"""owned, free, bury: what the others do with a worker that is dead."""

import pytest

from tests.support.turns import KEY, OTHER_WORKER, SESSION, WORKER, calls_of, lose_lease, snapshot, submit_and_claim
from turnwire.shared import keys

ENTRY = b'{"pid":1}'
FIRST, SECOND = KEY.run_id, SESSION.turn(1).run_id


async def two_jobs_of_a_worker(queue) -> None:
    await queue.enqueue(FIRST)
    await queue.enqueue(SECOND)
    await queue.take(WORKER, 2)
    await queue.extend(WORKER, ENTRY, [FIRST, SECOND])


async def test_the_jobs_that_a_worker_has_claimed_are_its_own(queue):
    await two_jobs_of_a_worker(queue)
    assert sorted(await queue.owned(WORKER)) == [FIRST, SECOND]
    assert await queue.owned(OTHER_WORKER) == []


async def test_nobody_looks_through_the_queue_for_the_jobs_of_a_dead_worker(redis, queue):
    await two_jobs_of_a_worker(queue)
    for index in range(2, 200):
        await queue.enqueue(SESSION.turn(index).run_id)
    await redis.config_resetstat()
    assert len(await queue.owned(WORKER)) == 2
    assert await queue.bury(WORKER, ENTRY, [FIRST, SECOND]) is True
    assert await calls_of(redis, "get") < 10


async def test_a_claim_of_a_worker_that_keeps_no_set_lapses_with_its_lease(redis, queue, settings):
    """So it is with a worker of the version before, which runs beside this one during a rollout."""
    await two_jobs_of_a_worker(queue)
    await redis.delete(keys.claims(WORKER))
    assert await queue.bury(WORKER, ENTRY, await queue.owned(WORKER)) is True
    assert await queue.workers() == {}
    _, due_ms = await queue.take(OTHER_WORKER, 5)
    assert 0 < due_ms <= settings.lease_ms
    for job_id in (FIRST, SECOND):  # the lease ends
        await redis.delete(keys.in_progress(job_id))
        await redis.zadd(keys.QUEUE, {job_id: 1})
    assert len((await queue.take(OTHER_WORKER, 5))[0]) == 2


@pytest.mark.parametrize("end", ["end", "park", "again"])
async def test_a_job_that_a_worker_gives_up_is_no_claim_of_it_any_more(redis, queue, end):
    await queue.enqueue(FIRST)
    [taken], _ = await queue.take(WORKER, 1)
    await getattr(queue, end)(WORKER, taken)
    assert not await redis.exists(keys.claims(WORKER))


async def test_the_set_of_claims_outlives_the_claims(redis, queue, settings):
    await two_jobs_of_a_worker(queue)
    for _ in range(2):
        assert settings.lease_ms < await redis.pttl(keys.claims(WORKER)) <= 2 * settings.lease_ms
        await redis.delete(keys.claims(WORKER))
        await queue.extend(WORKER, ENTRY, [FIRST, SECOND])  # as a worker does whose claims had lapsed
    assert sorted(await queue.owned(WORKER)) == [FIRST, SECOND]


async def test_a_buried_workers_jobs_are_due_and_hinted_at_once(redis, queue):
    await two_jobs_of_a_worker(queue)
    assert await queue.bury(WORKER, ENTRY, [FIRST, SECOND]) is True
    assert await queue.workers() == {}
    assert await redis.llen(keys.HINTS) == 2
    taken, _ = await queue.take(OTHER_WORKER, 5)
    assert sorted(job.job_id for job in taken) == [FIRST, SECOND]


async def test_a_worker_that_sent_a_heartbeat_since_is_not_buried(redis, queue):
    await two_jobs_of_a_worker(queue)
    await queue.extend(WORKER, b'{"pid":1,"heartbeat":2}', [])
    before = await snapshot(redis)
    assert await queue.bury(WORKER, ENTRY, [FIRST, SECOND]) is False
    assert await snapshot(redis) == before


async def test_a_job_that_somebody_else_took_meanwhile_stays_with_them(redis, queue):
    await two_jobs_of_a_worker(queue)
    await redis.set(keys.in_progress(SECOND), OTHER_WORKER, px=5000)
    await queue.bury(WORKER, ENTRY, [FIRST, SECOND])
    assert await redis.get(keys.in_progress(SECOND)) == OTHER_WORKER.encode()
    taken, _ = await queue.take(OTHER_WORKER, 5)
    assert [job.job_id for job in taken] == [FIRST]


async def test_a_job_that_has_ended_meanwhile_does_not_come_back(redis, queue):
    await two_jobs_of_a_worker(queue)
    await redis.zrem(keys.QUEUE, FIRST)
    await queue.bury(WORKER, ENTRY, [FIRST])
    assert await redis.zscore(keys.QUEUE, FIRST) is None


async def test_burying_twice_changes_nothing(queue, twice):
    await two_jobs_of_a_worker(queue)
    assert await twice(lambda: queue.bury(WORKER, ENTRY, [FIRST, SECOND])) is False
    assert len((await queue.take(OTHER_WORKER, 5))[0]) == 2


async def test_the_leases_of_a_dead_worker_are_freed(store, redis):
    await submit_and_claim(store)
    await store.free([KEY], WORKER, 2)
    assert not await redis.exists(KEY.lease)


async def test_the_lease_of_another_worker_stays(store, redis):
    await submit_and_claim(store, worker=OTHER_WORKER)
    before = await snapshot(redis)
    await store.free([KEY], WORKER, 2)
    assert await snapshot(redis) == before


async def test_a_worker_whose_name_only_starts_alike_keeps_its_lease(store, redis):
    await submit_and_claim(store, worker=f"{WORKER}0")
    await store.free([KEY], WORKER, 2)
    assert await redis.exists(KEY.lease)


async def test_freeing_what_is_free_or_twice_changes_nothing(store, twice):
    await submit_and_claim(store)
    await lose_lease(store)
    await twice(lambda: store.free([KEY, SESSION.turn(9)], WORKER, 2))


async def test_a_server_that_forgot_the_scripts_gets_them_again(redis, store, queue):
    await two_jobs_of_a_worker(queue)
    await redis.script_flush()
    assert len(await queue.owned(WORKER)) == 2
    await store.free([KEY], WORKER, 2)
    assert await queue.bury(WORKER, ENTRY, [FIRST, SECOND]) is True
