"""The list of answers that are not persisted yet: an entry as long as there is a job for it."""

from tests.support.turns import KEY, OTHER_WORKER, SESSION, WORKER
from turnwire.shared import keys

RUN_IDS = [SESSION.turn(index).run_id for index in range(5)]


async def listed(queue) -> list[str]:
    count, found = await queue.pending(0, 100)
    assert count == len(found)
    return [pending.run_id for pending in found]


async def test_they_are_listed_once_oldest_first_and_their_age_stays(queue):
    for run_id in reversed(RUN_IDS):
        await queue.enqueue_persist(run_id)
    _, before = await queue.pending(0, 100)
    assert [pending.run_id for pending in before] == RUN_IDS[::-1]
    for run_id in RUN_IDS:
        await queue.enqueue_persist(run_id)  # as the sweep does, or a lost reply
    assert (await queue.pending(0, 100))[1] == before


async def test_no_two_have_the_same_age_so_no_page_loses_one(queue, redis):
    now_s, _ = await redis.time()
    ahead = (now_s + 60) * 1_000_000  # a clock that was put back
    await queue.enqueue_persist(RUN_IDS[0])
    await redis.zadd(keys.PENDING, {keys.persist_id(RUN_IDS[0]): ahead})
    for run_id in RUN_IDS[1:]:
        await queue.enqueue_persist(run_id)
    assert [pending.since_us - ahead for pending in (await queue.pending(0, 100))[1]] == [0, 1, 2, 3, 4]
    assert [pending.run_id for pending in (await queue.pending(ahead + 1, 2))[1]] == RUN_IDS[2:4]


async def test_a_turn_is_not_listed(queue):
    await queue.enqueue(KEY.run_id)
    assert await queue.pending(0, 100) == (0, [])


async def test_it_says_when_it_is_tried_again(queue, redis, settings):
    await queue.enqueue_persist(KEY.run_id)
    [taken], _ = await queue.take(WORKER, 1)
    await queue.again(WORKER, taken, 30_000)
    [pending] = (await queue.pending(0, 100))[1]
    now_s, _ = await redis.time()
    assert abs(pending.next_try_ms - now_s * 1000 - 30_000) < 3000


async def test_one_whose_job_was_lost_is_still_listed(queue, redis):
    await queue.enqueue_persist(KEY.run_id)
    await redis.zrem(keys.QUEUE, keys.persist_id(KEY.run_id))
    await queue.take(WORKER, 1)  # skips what waits in a line and is not in the queue
    [pending] = (await queue.pending(0, 100))[1]
    assert pending.next_try_ms is None


async def test_it_goes_with_its_job(queue, twice):
    await queue.enqueue_persist(KEY.run_id)
    [taken], _ = await queue.take(WORKER, 1)
    await queue.end(OTHER_WORKER, taken)  # not his
    assert await listed(queue) == [KEY.run_id]
    await twice(lambda: queue.end(WORKER, taken))
    assert await listed(queue) == []


async def test_it_stays_when_it_was_put_off_again_while_it_ran(queue):
    await queue.enqueue_persist(KEY.run_id)
    [taken], _ = await queue.take(WORKER, 1)
    await queue.enqueue_persist(KEY.run_id)
    await queue.end(WORKER, taken)
    assert await listed(queue) == [KEY.run_id]


async def test_it_goes_when_the_sweep_finds_nothing_to_store(queue, redis):
    await queue.enqueue_persist(KEY.run_id)
    await redis.zadd(keys.OPEN_TURNS, {keys.persist_id(KEY.run_id): 0})
    await redis.delete(keys.job(keys.persist_id(KEY.run_id)))
    [(job_id, mark)] = (await queue.due(WORKER)).jobs
    await queue.forget(job_id, "1")
    assert await listed(queue) == [KEY.run_id]
    await queue.forget(job_id, mark)
    assert await listed(queue) == []
