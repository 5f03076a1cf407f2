"""enqueue and take: tenants take turns, by weight; a tenant's own turns go by time; batch turns and pools."""

import asyncio
from collections import Counter

import msgspec
import pytest

from tests.support.turns import OTHER_WORKER, WORKER
from turnwire.shared import keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.lanes import DEFAULT_LANE, Lane
from turnwire.shared.store.queue import Room, TurnQueue

BATCH, GPU = Lane(priority="batch"), Lane("gpu")


def run_ids(tenant: str, count: int, session: str = "s") -> list[str]:
    return [SessionKey(tenant, session).turn(index).run_id for index in range(count)]


async def enqueue(
    queue: TurnQueue, job_ids: list[str], lane: Lane = DEFAULT_LANE, weight: float | None = None
) -> list[str]:
    await asyncio.gather(*(queue.enqueue(job_id, lane=lane, weight=weight) for job_id in job_ids))
    return job_ids


async def taken(queue: TurnQueue, count: int, each: int = 1) -> list[str]:
    found: list[str] = []
    while len(found) < count and (jobs := (await queue.take(WORKER, each))[0]):
        found += [job.job_id for job in jobs]
    return found


def tenants(job_ids: list[str]) -> Counter[str]:
    return Counter(map(keys.tenant_of, job_ids))


@pytest.fixture
def gpu_queue(redis, settings):
    """The queue as a worker of another pool sees it."""
    return TurnQueue(redis, msgspec.structs.replace(settings, pools="gpu"))


@pytest.mark.parametrize("each", [1, 4])
async def test_a_flood_of_one_tenant_delays_the_others_by_one_place_each(queue, each):
    await enqueue(queue, run_ids("flood", 60))
    late = [run_ids(f"t{number}", 1)[0] for number in range(5)]
    await enqueue(queue, late)
    first = await taken(queue, 12, each)
    assert set(late) <= set(first[: 6 + each])


async def test_two_tenants_that_always_have_turns_get_the_same(queue):
    await enqueue(queue, run_ids("a", 30))
    await taken(queue, 10)
    await enqueue(queue, run_ids("b", 30))
    assert tenants(await taken(queue, 20)) == {"a": 10, "b": 10}


@pytest.mark.parametrize(("weight", "shares"), [(3.0, {"gold": 30, "base": 10}), (0.25, {"gold": 8, "base": 32})])
async def test_a_tenant_gets_turns_by_its_weight(queue, weight, shares):
    await enqueue(queue, run_ids("gold", 40), weight=weight)
    await enqueue(queue, run_ids("base", 40))
    assert tenants(await taken(queue, 40)) == shares


async def test_the_turns_of_a_tenant_go_by_time(queue):
    own = await enqueue(queue, [*run_ids("a", 12, "z"), *run_ids("a", 12, "b")])
    await enqueue(queue, run_ids("b", 3))
    assert [job_id for job_id in await taken(queue, 27, 5) if keys.tenant_of(job_id) == "a"] == own


async def test_a_tenant_that_was_idle_has_saved_no_turns(queue):
    await enqueue(queue, run_ids("busy", 60))
    await enqueue(queue, run_ids("other", 60))
    await taken(queue, 60)
    await enqueue(queue, run_ids("idle", 20))
    assert tenants(await taken(queue, 15))["idle"] <= 6


async def test_a_tenant_that_comes_back_at_once_does_not_jump_the_queue(queue):
    await enqueue(queue, run_ids("busy", 30))
    await enqueue(queue, run_ids("other", 30))
    order: list[str] = []
    for index in range(6):  # it always waits until its turn has begun, and has nothing in line then
        [own] = await enqueue(queue, [SessionKey("pushy", "s").turn(index).run_id])
        while own not in order:
            order += await taken(queue, 1)
    assert tenants(order)["busy"] >= 5


async def test_a_new_turn_goes_to_the_end_of_its_line_also_after_the_clock_went_back(redis, queue):
    first, second = await enqueue(queue, run_ids("a", 2))
    line = keys.line("default", "a")[2]
    await redis.zincrby(line, 60_000_000, first)  # as they look once the clock is behind
    await redis.zincrby(line, 60_000_000, second)
    [third] = await enqueue(queue, [SessionKey("a", "s").turn(2).run_id])
    assert await taken(queue, 3) == [first, second, third]


async def test_nothing_is_left_of_a_tenant_without_waiting_turns(redis, queue):
    await enqueue(queue, run_ids("a", 5))
    await enqueue(queue, run_ids("b", 2))
    await enqueue(queue, run_ids("c", 2), BATCH)
    await taken(queue, 9)
    lines = (keys.TENANTS_PREFIX, keys.DEBTS_PREFIX, keys.WAITING_PREFIX, keys.AGEING_PREFIX)
    assert [name for prefix in lines for name in await redis.keys(f"{prefix}*")] == []


async def test_the_debts_of_tenants_are_forgotten_as_soon_as_they_mean_nothing(redis, queue):
    await enqueue(queue, run_ids("busy", 100))
    await enqueue(queue, run_ids("other", 100))
    for number in range(10):
        await enqueue(queue, run_ids(f"t{number}", 1))
        await taken(queue, 5)
    assert await redis.zcard(keys.DEBTS_PREFIX + "default") <= 3


async def test_what_a_worker_of_another_version_took_out_of_a_line_is_skipped(redis, queue):
    first, second = await enqueue(queue, run_ids("a", 2))
    await redis.set(keys.in_progress(first), OTHER_WORKER, px=60_000)  # as take.lua did before there were lines
    now_s, _ = await redis.time()
    await redis.zadd(keys.QUEUE, {first: (now_s + 60) * 1000 + 0.5})
    assert await taken(queue, 2) == [second]


async def test_what_such_a_worker_put_off_is_not_taken_before_its_time(redis, queue):
    [job_id] = await enqueue(queue, run_ids("a", 1))
    now_s, _ = await redis.time()
    await redis.zadd(keys.QUEUE, {job_id: (now_s + 60) * 1000})
    assert await taken(queue, 1) == []


async def test_a_job_that_another_version_has_enqueued_goes_before_the_lines(redis, queue):
    await enqueue(queue, run_ids("a", 2))
    old = SessionKey("b", "s").turn(0).run_id
    now_s, _ = await redis.time()
    await redis.zadd(keys.QUEUE, {old: (now_s - 1) * 1000 + 0.25})
    assert (await taken(queue, 3))[0] == old


async def test_a_worker_of_the_version_before_finds_every_job_in_the_queue_by_time(redis, queue):
    own = await enqueue(queue, run_ids("a", 3))
    now_s, _ = await redis.time()
    assert await redis.zrangebyscore(keys.QUEUE, "-inf", now_s * 1000) == [job_id.encode() for job_id in own]


async def test_very_many_entries_that_do_not_wait_any_more_are_skipped_in_several_calls(redis, queue):
    gone = await enqueue(queue, run_ids("a", 400))
    await redis.zrem(keys.QUEUE, *gone)
    [there] = await enqueue(queue, [SessionKey("a", "later").turn(0).run_id])
    jobs, wait_ms = await queue.take(WORKER, 1)
    assert (jobs, wait_ms) == ([], 0)
    assert await taken(queue, 1) == [there]


async def test_batch_turns_let_interactive_ones_go_first(queue):
    batch = await enqueue(queue, run_ids("a", 3), BATCH)
    interactive = await enqueue(queue, run_ids("b", 3))
    assert await taken(queue, 6) == interactive + batch


async def test_a_batch_turn_that_has_waited_for_long_counts_as_an_interactive_one(redis, queue, settings):
    impatient = TurnQueue(redis, msgspec.structs.replace(settings, batch_age_s=0.001))
    [batch] = await enqueue(queue, run_ids("a", 1), BATCH)
    await enqueue(queue, run_ids("b", 20))
    assert batch not in await taken(queue, 5)
    assert batch in await taken(impatient, 4)
    assert await redis.get(keys.LANE_PREFIX + batch) == b"default"


async def test_a_worker_takes_the_turns_of_its_pools_alone_the_preferred_ones_first(redis, queue, gpu_queue, settings):
    gpu = await enqueue(queue, run_ids("a", 2), GPU)
    default = await enqueue(queue, run_ids("a", 2, "d"))
    both = TurnQueue(redis, msgspec.structs.replace(settings, pools="gpu,default"))
    assert await taken(gpu_queue, 1) == gpu[:1]
    assert await taken(both, 2) == [gpu[1], default[0]]
    assert await taken(gpu_queue, 1) == []
    assert await taken(queue, 1) == default[1:]


async def test_a_turn_wakes_a_worker_of_its_pool(redis, queue):
    [job_id] = await enqueue(queue, run_ids("a", 1), GPU)
    assert await redis.lrange(keys.hints("gpu"), 0, -1) == [job_id.encode()]
    assert not await redis.exists(keys.HINTS)


async def test_the_job_of_a_dead_worker_waits_for_a_worker_of_its_pool(redis, queue, gpu_queue):
    [job_id] = await enqueue(queue, run_ids("a", 1), GPU)
    await taken(gpu_queue, 1)
    await gpu_queue.bury(WORKER, b"", [job_id])
    assert await redis.llen(keys.hints("gpu")) == 1
    assert await taken(queue, 1) == []
    assert await redis.llen(keys.hints("gpu")) == 2, "this worker has found it, and passes it on"
    assert await redis.zscore(keys.QUEUE, job_id) < 0, "it waits in its line, so nobody finds it again"
    assert await taken(gpu_queue, 1) == [job_id]


async def test_a_job_that_was_given_back_goes_before_the_lines(queue):
    first, *others = await enqueue(queue, run_ids("a", 3))
    [job], _ = await queue.take(WORKER, 1)
    await queue.again(WORKER, job)
    assert await taken(queue, 3) == [first, *others]


async def test_a_turn_that_has_ended_leaves_no_lane_behind(redis, gpu_queue):
    [job_id] = await enqueue(gpu_queue, run_ids("a", 1), Lane("gpu", "batch"))
    assert await redis.get(keys.LANE_PREFIX + job_id) == b"gpu:batch"
    [job], _ = await gpu_queue.take(WORKER, 1)
    await gpu_queue.end(WORKER, job)
    assert not await redis.exists(keys.LANE_PREFIX + job_id)


async def test_a_turn_that_is_enqueued_again_in_another_lane_is_taken_once(redis, queue):
    [job_id] = await enqueue(queue, run_ids("a", 1), BATCH)
    await redis.delete(keys.job(job_id))
    await enqueue(queue, [job_id])
    assert await taken(queue, 2) == [job_id]


async def test_a_reserved_slot_is_for_a_tenant_that_runs_nothing_here(redis, queue):
    await enqueue(queue, run_ids("flood", 5))
    room = Room(reserved=2, busy={"flood"})
    jobs, wait_ms = await queue.take(WORKER, 2, room=room)
    assert (jobs, wait_ms) == ([], None), "nothing is due that this worker could take"
    assert await redis.llen(keys.HINTS) == 5, "other workers can take what waits"
    newcomer = await enqueue(queue, run_ids("quiet", 2))
    assert await redis.llen(keys.NEWCOMERS_PREFIX + "default") == 1, "the first of a tenant tells of it"
    jobs, _ = await queue.take(WORKER, 2, room=room)
    assert [job.job_id for job in jobs] == newcomer[:1], "then this tenant runs something there, too"


@pytest.mark.parametrize("floods", [{"flood"}, {"flood", "flood2"}], ids=len)
async def test_what_a_tenant_got_in_reserved_slots_does_not_hold_it_back(queue, floods):
    for flood in sorted(floods):
        await enqueue(queue, run_ids(flood, 50))
    for number in range(10):
        [turn] = await enqueue(queue, run_ids("quiet", 1, f"r{number}"))
        jobs, _ = await queue.take(WORKER, 1, room=Room(reserved=1, busy=floods))
        assert [job.job_id for job in jobs] == [turn]
    await taken(queue, len(floods))  # nobody else waits, so the floods are served
    [turn] = await enqueue(queue, run_ids("quiet", 1, "last"))
    assert turn in await taken(queue, 2 * len(floods))


async def test_a_slot_that_is_not_reserved_is_for_anybody(queue):
    flood = await enqueue(queue, run_ids("flood", 5))
    quiet = await enqueue(queue, run_ids("quiet", 1))
    jobs, wait_ms = await queue.take(WORKER, 3, room=Room(reserved=1, busy={"quiet"}))
    assert [job.job_id for job in jobs] == [*flood[:1], *quiet]
    assert wait_ms is None


async def test_nobody_is_told_of_newcomers_while_no_worker_reserves(redis, queue):
    await enqueue(queue, run_ids("a", 2))
    assert not await redis.keys(f"{keys.NEWCOMERS_PREFIX}*")
