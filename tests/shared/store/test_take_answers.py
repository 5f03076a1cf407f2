"""take_answers: jobs that persist answers, and no others, also behind a queue of any length."""

import pytest

from tests.support.turns import KEY, OTHER_WORKER, SESSION, WORKER
from turnwire.shared import keys
from turnwire.shared.store import queue as queues

RUN_IDS = [SESSION.turn(index).run_id for index in range(5)]
ANSWERS = [keys.persist_id(run_id) for run_id in RUN_IDS]


@pytest.fixture
async def pending(queue):
    """Five answers, oldest first, behind a turn."""
    await queue.enqueue(KEY.session.turn(9).run_id)
    for run_id in RUN_IDS:
        await queue.enqueue_persist(run_id)
    return queue


def ids(taken):
    return [job.job_id for job in taken]


async def test_without_answers_nothing_is_taken(redis, queue):
    await queue.enqueue(KEY.run_id)
    assert await queue.take_answers(WORKER, 3, 0) == ([], 0)


async def test_it_claims_the_oldest_answers_that_are_due_and_goes_on_behind_them(redis, pending):
    taken, after = await pending.take_answers(WORKER, 2, 0)
    assert ids(taken) == ANSWERS[:2]
    assert taken[0].job == await redis.get(keys.job(ANSWERS[0]))
    rest, after = await pending.take_answers(OTHER_WORKER, 9, after)
    assert (ids(rest), after) == (ANSWERS[2:], 0)
    assert sorted(await pending.owned(WORKER)) == ANSWERS[:2]
    assert await redis.get(keys.in_progress(ANSWERS[0])) == WORKER.encode()
    assert await redis.zscore(keys.QUEUE, KEY.session.turn(9).run_id) is not None


async def test_answers_that_are_tried_or_pause_are_passed_over(redis, pending):
    await pending.take_answers(WORKER, 1, 0)
    now_s, _ = await redis.time()
    await redis.zadd(keys.QUEUE, {ANSWERS[1]: (now_s + 60) * 1000})
    await redis.zrem(keys.QUEUE, ANSWERS[2])
    taken, _ = await pending.take_answers(OTHER_WORKER, 9, 0)
    assert ids(taken) == ANSWERS[3:]


async def test_each_call_looks_at_some_and_the_next_one_at_those_that_follow(pending, redis, monkeypatch):
    monkeypatch.setattr(queues, "LOOK", 2)
    now_s, _ = await redis.time()
    await redis.zadd(keys.QUEUE, dict.fromkeys(ANSWERS[:4], (now_s + 60) * 1000))
    after, found = 0, []
    for _ in range(3):
        taken, after = await pending.take_answers(WORKER, 9, after)
        found.append(ids(taken))
    assert (found, after) == ([[], [], ANSWERS[4:]], 0)
