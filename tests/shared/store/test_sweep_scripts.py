"""announce, forget, due: the list of open turns that the sweep looks at."""

import pytest

from tests.support.turns import KEY, OTHER_WORKER, SESSION, WORKER, snapshot
from turnwire.shared import keys
from turnwire.shared.replies import Due
from turnwire.shared.store.queue_open import ANNOUNCED_MS, SWEEPER_MS, WAITING_MS
from turnwire.shared.store.queue_workers import SWEEP_MS

RUN_ID = KEY.run_id


async def mark_of(redis) -> float | None:
    return await redis.zscore(keys.OPEN_TURNS, RUN_ID)


async def make_due(redis, *run_ids: str) -> None:
    await redis.zadd(keys.OPEN_TURNS, dict.fromkeys(run_ids, 1))


async def test_an_announced_turn_is_due_after_a_while(redis, queue):
    mark = await queue.announce(RUN_ID)
    now_s, _ = await redis.time()
    assert await mark_of(redis) == float(mark) == pytest.approx(now_s * 1000 + ANNOUNCED_MS, abs=2000)
    assert (await queue.due(WORKER)).jobs == []


async def test_announcing_a_turn_that_is_open_changes_nothing(redis, queue):
    await queue.enqueue(RUN_ID)
    before = await snapshot(redis)
    assert await queue.announce(RUN_ID) == ""
    assert await snapshot(redis) == before


async def test_an_announcement_is_taken_back_by_its_mark(redis, queue):
    await queue.forget(RUN_ID, await queue.announce(RUN_ID))
    assert await mark_of(redis) is None


async def test_a_mark_that_was_renewed_meanwhile_is_not_taken_back(redis, queue):
    mark = await queue.announce(RUN_ID)
    await queue.enqueue(RUN_ID)
    await queue.forget(RUN_ID, mark)
    assert await mark_of(redis) is not None


async def test_without_a_mark_nothing_is_taken_back(redis, queue):
    await queue.announce(RUN_ID)
    await queue.forget(RUN_ID, await queue.announce(RUN_ID))
    assert await mark_of(redis) is not None


async def test_a_due_turn_is_handed_out_once_in_a_while(redis, queue):
    await make_due(redis, RUN_ID)
    [(run_id, mark)] = (await queue.due(WORKER)).jobs
    assert run_id == RUN_ID
    now_s, _ = await redis.time()
    assert await mark_of(redis) == float(mark) == pytest.approx(now_s * 1000 + SWEEP_MS, abs=2000)
    assert (await queue.due(WORKER)).jobs == []


async def test_the_mark_that_was_handed_out_ends_the_sweeps_interest(redis, queue):
    await make_due(redis, RUN_ID)
    [due] = (await queue.due(WORKER)).jobs
    await queue.forget(*due)
    assert await mark_of(redis) is None


async def test_so_many_are_handed_out_at_once_and_the_rest_later(redis, queue):
    await make_due(redis, *(SESSION.turn(index).run_id for index in range(5)))
    first, second = (await queue.due(WORKER, limit=3)).jobs, (await queue.due(WORKER, limit=3)).jobs
    assert (len(first), len(second)) == (3, 2)
    assert {run_id for run_id, _ in first}.isdisjoint(run_id for run_id, _ in second)


async def test_a_due_reply_that_was_lost_only_delays(redis, queue, twice):
    await make_due(redis, RUN_ID)
    assert (await twice(lambda: queue.due(WORKER))).jobs == []
    assert await mark_of(redis) is not None


async def test_announcing_and_forgetting_may_be_repeated(redis, queue, twice):
    await twice(lambda: queue.announce(RUN_ID))
    await make_due(redis, RUN_ID)
    await twice(lambda: queue.forget(RUN_ID, "1"))
    assert await mark_of(redis) is None


async def test_a_server_that_forgot_the_scripts_gets_them_again(redis, queue):
    await redis.script_flush()
    mark = await queue.announce(RUN_ID)
    await queue.forget(RUN_ID, mark)
    assert (await queue.due(WORKER)).jobs == []


async def test_the_sweep_does_not_forget_what_was_asked_for_in_the_same_ms(redis, queue):
    """Both set the same mark then: a turn that was asked again had a job, but was not among the open turns."""
    await queue.enqueue(RUN_ID)
    await redis.zadd(keys.OPEN_TURNS, {RUN_ID: 0})
    await redis.delete(keys.job(RUN_ID))
    [(_, mark)] = (await queue.due(WORKER)).jobs
    await redis.zadd(keys.OPEN_TURNS, {RUN_ID: int(float(mark))})  # what an enqueue in this ms does
    await queue.forget(RUN_ID, mark)
    assert await mark_of(redis) is not None


async def test_a_turn_whose_job_is_in_the_queue_is_not_handed_out(redis, queue):
    await queue.enqueue(RUN_ID)
    await make_due(redis, RUN_ID)
    assert (await queue.due(WORKER)).jobs == []
    now_s, _ = await redis.time()
    assert await mark_of(redis) == pytest.approx(now_s * 1000 + WAITING_MS, abs=2000)
    await redis.delete(keys.job(RUN_ID))
    await make_due(redis, RUN_ID)
    assert [run_id for run_id, _ in (await queue.due(WORKER)).jobs] == [RUN_ID]


async def test_one_worker_sweeps_at_a_time(redis, queue):
    await make_due(redis, *(SESSION.turn(index).run_id for index in range(3)))
    assert len((await queue.due(WORKER, limit=1)).jobs) == 1
    before = await snapshot(redis)
    assert await queue.due(OTHER_WORKER) == Due([], 4000, sweeps=False)
    assert await snapshot(redis) == before
    assert len((await queue.due(WORKER)).jobs) == 2


async def test_in_a_large_pool_each_worker_asks_less_often_whether_somebody_sweeps(redis, queue):
    await queue.due(WORKER)
    await redis.hset(keys.WORKERS, mapping={f"host/1/{number}": "{}" for number in range(200)})
    assert (await queue.due(OTHER_WORKER)).next_ms == 50_000


async def test_a_worker_that_asks_for_nothing_any_more_sweeps_no_more(redis, queue):
    await queue.due(WORKER)
    assert 0 < await redis.pttl(keys.SWEEPER) <= SWEEPER_MS
    await redis.delete(keys.SWEEPER)  # its term is over
    assert (await queue.due(OTHER_WORKER)).sweeps
    assert not (await queue.due(WORKER)).sweeps


async def test_another_worker_sweeps_as_soon_as_the_one_that_did_is_buried(queue):
    for worker in (WORKER, OTHER_WORKER):
        await queue.extend(worker, b"{}", [])
        await queue.due(worker)
    assert await queue.bury(OTHER_WORKER, b"{}", [])
    assert not (await queue.due(OTHER_WORKER)).sweeps
    assert await queue.bury(WORKER, b"{}", [])
    assert (await queue.due(OTHER_WORKER)).sweeps
