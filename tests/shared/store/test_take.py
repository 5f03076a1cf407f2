"""take: due jobs go to one worker each, out of everybody's sight for a lease's time."""

import pytest

from tests.support.faults import one_lost_reply
from tests.support.turns import KEY, OTHER_WORKER, SESSION, WORKER, snapshot
from turnwire.shared import keys
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.store.queue import Taken

RUN_ID = KEY.run_id


async def enqueue(queue, count: int) -> list[str]:
    run_ids = [SESSION.turn(index).run_id for index in range(count)]
    for run_id in run_ids:
        await queue.enqueue(run_id)
    return run_ids


async def test_an_empty_queue_gives_nothing_and_knows_of_no_next_job(redis, queue):
    assert await queue.take(WORKER, 5) == ([], None)
    assert await redis.keys("*") == []


async def test_one_round_trip_takes_as_many_jobs_as_there_are_slots(queue):
    run_ids = await enqueue(queue, 5)
    taken, wait_ms = await queue.take(WORKER, 3)
    assert {job.job_id for job in taken} <= set(run_ids)
    assert len(taken) == 3
    assert wait_ms == 0
    rest, _ = await queue.take(OTHER_WORKER, 9)
    assert {job.job_id for job in taken + rest} == set(run_ids)
    assert len(rest) == 2


async def test_a_job_is_taken_once(queue):
    await enqueue(queue, 1)
    assert len((await queue.take(WORKER, 1))[0]) == 1
    assert (await queue.take(OTHER_WORKER, 1))[0] == []
    assert (await queue.take(WORKER, 1))[0] == []


async def test_a_taken_job_is_out_of_sight_until_its_claim_ends(redis, queue, settings):
    await enqueue(queue, 1)
    await queue.take(WORKER, 1)
    _, wait_ms = await queue.take(OTHER_WORKER, 1)
    assert settings.lease_ms - 1000 < wait_ms <= settings.lease_ms
    assert await redis.get(keys.in_progress(RUN_ID)) == WORKER.encode()
    assert 0 < await redis.pttl(keys.in_progress(RUN_ID)) <= settings.lease_ms


async def test_a_job_whose_claim_ended_is_taken_by_another_worker(redis, queue):
    await enqueue(queue, 1)
    [first], _ = await queue.take(WORKER, 1)
    await redis.delete(keys.in_progress(RUN_ID))
    await redis.zadd(keys.QUEUE, {RUN_ID: 1})
    assert (await queue.take(OTHER_WORKER, 1))[0] == [first]


async def test_a_job_that_is_due_but_still_claimed_moves_behind_its_claim(redis, queue):
    await enqueue(queue, 1)
    await queue.take(WORKER, 1)
    await redis.zadd(keys.QUEUE, {RUN_ID: 1})
    jobs, left_ms = await queue.take(OTHER_WORKER, 1)
    assert jobs == []
    assert left_ms is not None, "the caller looks again when the claim ends, not when it would look anyway"
    assert 1000 < left_ms <= 5001
    assert await redis.get(keys.in_progress(RUN_ID)) == WORKER.encode()
    _, wait_ms = await queue.take(OTHER_WORKER, 1)
    assert wait_ms > 1000


async def test_claimed_jobs_at_the_head_do_not_hide_those_behind_them(redis, queue):
    """arq reads a window of its queue and starts nothing when running jobs fill it (facts-arq.md)."""
    run_ids = await enqueue(queue, 4)
    await queue.take(WORKER, 3)
    await redis.zadd(keys.QUEUE, dict.fromkeys(run_ids[:3], 1))
    for _ in run_ids:
        taken, wait_ms = await queue.take(OTHER_WORKER, 1)
        if taken:
            break
        assert wait_ms == 0  # ask again at once
    assert [job.job_id for job in taken] == run_ids[3:]


async def test_a_job_for_later_is_not_taken_before_its_time(queue):
    await enqueue(queue, 1)
    [taken], _ = await queue.take(WORKER, 1)
    await queue.again(WORKER, taken, 60_000)
    jobs, wait_ms = await queue.take(WORKER, 1)
    assert jobs == []
    assert 59_000 < wait_ms <= 60_000


async def test_the_job_that_waited_longest_goes_first(redis, queue):
    run_ids = await enqueue(queue, 3)
    await redis.zadd(keys.QUEUE, {run_ids[2]: 1, run_ids[0]: 2, run_ids[1]: 3})
    taken, _ = await queue.take(WORKER, 2)
    assert [job.job_id for job in taken] == [run_ids[2], run_ids[0]]


async def test_an_expired_job_is_taken_with_empty_bytes(redis, queue):
    await enqueue(queue, 1)
    await redis.delete(keys.job(RUN_ID))
    assert (await queue.take(WORKER, 1))[0] == [Taken(RUN_ID, b"")]


async def test_hints_go_when_nothing_else_is_due_and_stay_while_something_is(redis, queue):
    await enqueue(queue, 2)
    await queue.take(WORKER, 1)
    assert await redis.llen(keys.HINTS) == 2
    await queue.take(WORKER, 1)
    assert await redis.llen(keys.HINTS) == 0


async def test_looking_without_a_hint_leaves_the_hints_to_others(redis, queue):
    await redis.rpush(keys.HINTS, RUN_ID)
    await queue.take(WORKER, 1, woken=False)
    assert await redis.llen(keys.HINTS) == 1
    await queue.take(WORKER, 1, woken=True)
    assert await redis.llen(keys.HINTS) == 0


async def test_a_lost_reply_is_never_repeated_in_silence(redis, queue):
    """A repeat would not name what the lost reply named: nobody would run it until its claim ends."""
    await enqueue(queue, 1)
    with one_lost_reply(redis, resent=True), pytest.raises(StoreUnavailable):
        await queue.take(WORKER, 1)
    assert await queue.owned(WORKER) == [SESSION.turn(0).run_id]


async def test_a_server_that_forgot_the_script_gets_it_again(redis, queue):
    await enqueue(queue, 1)
    await redis.script_flush()
    assert len((await queue.take(WORKER, 1))[0]) == 1


async def test_looking_at_a_queue_with_nothing_due_writes_nothing(redis, queue):
    await enqueue(queue, 1)
    await queue.take(WORKER, 1)
    before = await snapshot(redis)
    await queue.take(OTHER_WORKER, 1)
    assert await snapshot(redis) == before
