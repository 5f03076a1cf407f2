"""Suspects run in workers that take nothing else meanwhile: which worker takes them, and when."""

import pytest

from tests.support.turns import OTHER_WORKER, SESSION, WORKER
from turnwire.shared import keys
from turnwire.shared.store.attempts import ASIDE_MS
from turnwire.shared.store.queue import Room, Taken

THIRD_WORKER = "host/3/cccccc"
JOBS = [SESSION.turn(index).run_id for index in range(6)]


@pytest.fixture
async def live(queue):
    """Three workers that have registered."""
    for worker in (WORKER, OTHER_WORKER, THIRD_WORKER):
        await queue.extend(worker, b"{}", [])


async def aside(queue, jobs, limit):
    """A busy worker has taken these jobs, and has learned that they are suspects."""
    for job_id in jobs:
        await queue.enqueue(job_id)
        await queue.set_aside("host/0/busy", Taken(job_id, b""), limit)


async def take(queue, worker, count=10, **room):
    """What the worker takes: job ids, and whether it takes any jobs from now on."""
    state = Room(**{"slots": 100} | room)
    jobs, _ = await queue.take(worker, count, room=state)
    return sorted(job.job_id for job in jobs), state.company


@pytest.mark.usefixtures("live")
async def test_an_idle_worker_takes_suspects_and_nothing_else(queue):
    await aside(queue, JOBS[:3], 25)
    await queue.enqueue(JOBS[5])
    assert await take(queue, WORKER) == (JOBS[:3], 25)
    assert await take(queue, WORKER, running=3, company=25) == ([], 25)
    assert await take(queue, OTHER_WORKER) == ([JOBS[5]], 0)


@pytest.mark.usefixtures("live")
async def test_no_more_run_together_than_each_of_them_may(queue):
    await aside(queue, JOBS[:3], 2)
    await aside(queue, JOBS[3:4], 1)
    first, company = await take(queue, WORKER)
    assert (len(first), company) == (2, 2)
    second, company = await take(queue, WORKER, running=1, company=2)
    assert (len(second), company) == (1, 2), "one has ended"
    assert await take(queue, WORKER, running=1, company=2) == ([], 2), "the last one runs alone"
    assert await take(queue, WORKER) == ([JOBS[3]], 1)


@pytest.mark.usefixtures("live")
async def test_a_worker_with_few_slots_takes_few(queue):
    await aside(queue, JOBS[:3], 25)
    jobs, company = await take(queue, WORKER, slots=2)
    assert (len(jobs), company) == (2, 2)


@pytest.mark.usefixtures("live")
async def test_one_worker_at_a_time_prefers_suspects_and_another_one_is_left_for_the_rest(queue):
    await aside(queue, JOBS[:3], 1)
    assert (await take(queue, WORKER))[1] == 1
    assert (await take(queue, OTHER_WORKER))[1] == 1, "nothing else is due"
    await queue.enqueue(JOBS[5])
    assert await take(queue, THIRD_WORKER) == ([JOBS[5]], 0)


@pytest.mark.usefixtures("live")
async def test_other_jobs_that_are_due_go_first_where_somebody_else_runs_suspects(queue):
    await aside(queue, JOBS[:3], 1)
    await queue.enqueue(JOBS[5])
    assert (await take(queue, WORKER))[1] == 1
    assert await take(queue, OTHER_WORKER) == ([JOBS[5]], 0)


@pytest.mark.usefixtures("live")
async def test_where_no_worker_is_idle_one_takes_nothing_until_it_is(queue, redis):
    await aside(queue, JOBS[:2], 1)
    await queue.enqueue(JOBS[5])
    assert await take(queue, WORKER, running=4) == ([], -1)
    assert await redis.pttl(keys.CLEARING) > 0
    assert await take(queue, OTHER_WORKER, running=4) == ([JOBS[5]], 0), "one is enough"
    assert await take(queue, WORKER, running=1, company=-1) == ([], -1)
    assert (await take(queue, WORKER, company=-1))[1] == 1
    assert not await redis.exists(keys.CLEARING)


@pytest.mark.usefixtures("live")
async def test_a_worker_that_comes_up_idle_relieves_the_one_that_waits(queue):
    await aside(queue, JOBS[:2], 2)
    assert (await take(queue, WORKER, running=4))[1] == -1
    assert (await take(queue, OTHER_WORKER))[1] == 2
    assert (await take(queue, WORKER, running=3, company=-1))[1] == 0


async def test_a_single_worker_takes_suspects_too(queue):
    await queue.extend(WORKER, b"{}", [])
    await aside(queue, JOBS[:1], 1)
    await queue.enqueue(JOBS[5])
    assert await take(queue, WORKER) == ([JOBS[0]], 1)
    assert await take(queue, WORKER) == ([JOBS[5]], 0)


@pytest.mark.usefixtures("live")
async def test_a_dead_worker_that_ran_suspects_holds_nobody_up(queue):
    await aside(queue, JOBS[:2], 1)
    await queue.enqueue(JOBS[5])
    [first], _ = await take(queue, WORKER)
    await queue.bury(WORKER, b"{}", [first])
    assert (await take(queue, OTHER_WORKER))[1] == 1


@pytest.mark.usefixtures("live")
async def test_a_suspect_that_has_ended_meanwhile_is_forgotten(queue, redis):
    await aside(queue, JOBS[:1], 1)
    await redis.zrem(keys.QUEUE, JOBS[0])
    await queue.enqueue(JOBS[5])
    assert await take(queue, WORKER) == ([JOBS[5]], 0)
    assert not await redis.exists(keys.SUSPECTS, keys.ISOLATING)


@pytest.mark.usefixtures("live")
async def test_a_suspect_whose_entry_is_lost_is_looked_at_again(queue, redis):
    await aside(queue, JOBS[:1], 1)
    assert await redis.zrem(keys.SUSPECTS, JOBS[0])
    seconds, micros = await redis.time()
    due_ms = await redis.zscore(keys.QUEUE, JOBS[0]) - (seconds * 1000 + micros // 1000)
    assert ASIDE_MS - 5000 < due_ms <= ASIDE_MS


@pytest.mark.usefixtures("live")
async def test_setting_aside_wakes_every_worker_once(queue, redis):
    await queue.enqueue(JOBS[0])
    [taken], _ = await queue.take("host/0/busy", 1)
    await redis.delete(keys.HINTS)
    await queue.set_aside("host/0/busy", taken, 1)
    assert await redis.llen(keys.HINTS) == 3
    assert not await redis.exists(keys.in_progress(JOBS[0]))


@pytest.mark.usefixtures("live")
async def test_a_job_that_another_worker_has_by_now_is_not_set_aside(queue, redis):
    await queue.enqueue(JOBS[0])
    [taken], _ = await queue.take(WORKER, 1)
    await queue.set_aside(OTHER_WORKER, taken, 1)
    assert not await redis.exists(keys.SUSPECTS)
    assert await redis.get(keys.in_progress(JOBS[0])) == WORKER.encode()


@pytest.mark.usefixtures("live")
async def test_setting_aside_twice_is_setting_aside_once(queue, redis, twice):
    await queue.enqueue(JOBS[0])
    [taken], _ = await queue.take(WORKER, 1)
    await twice(lambda: queue.set_aside(WORKER, taken, 3))
    assert await redis.zrange(keys.SUSPECTS, 0, -1, withscores=True) == [(JOBS[0].encode(), 3)]
    assert (await take(queue, OTHER_WORKER))[0] == [JOBS[0]]


@pytest.mark.usefixtures("live")
async def test_a_hint_that_a_worker_takes_for_suspects_wakes_another_one(queue, redis):
    await aside(queue, JOBS[:1], 1)
    await redis.delete(keys.HINTS)
    await queue.take(WORKER, 1, woken=True, room=Room(1))
    assert await redis.llen(keys.HINTS) == 1


async def overdue(redis, job_id, seconds):
    """The job has been due for so long."""
    now, _ = await redis.time()
    await redis.zadd(keys.QUEUE, {job_id: (now - seconds) * 1000})


@pytest.mark.parametrize(("seconds", "waits"), [(20, True), (40, False)])
async def test_other_jobs_wait_for_a_single_worker_for_half_a_minute_only(queue, redis, seconds, waits):
    await queue.extend(WORKER, b"{}", [])
    await aside(queue, JOBS[:2], 1)
    [first], company = await take(queue, WORKER)
    await queue.enqueue(JOBS[5])
    await overdue(redis, JOBS[5], seconds)
    expected = ([], 1) if waits else ([JOBS[5]], 0)
    assert await take(queue, WORKER, running=1, company=company) == expected
    assert (await redis.zscore(keys.ISOLATING, WORKER) is not None) is waits
    assert first in JOBS[:2]


async def test_a_single_worker_does_not_clear_itself_while_others_have_waited_for_long(queue, redis):
    await queue.extend(WORKER, b"{}", [])
    await aside(queue, JOBS[:1], 1)
    await queue.enqueue(JOBS[5])
    assert (await take(queue, WORKER, running=3))[1] == -1
    await overdue(redis, JOBS[5], 40)
    assert await take(queue, WORKER, running=3, company=-1) == ([JOBS[5]], 0)


@pytest.mark.usefixtures("live")
async def test_where_another_worker_is_left_for_other_jobs_suspects_stay_apart(queue, redis):
    await aside(queue, JOBS[:1], 1)
    assert (await take(queue, WORKER))[1] == 1
    await queue.enqueue(JOBS[5])
    await overdue(redis, JOBS[5], 40)
    assert await take(queue, WORKER, running=1, company=1) == ([], 1)
