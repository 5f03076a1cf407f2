"""What is paused does not start, costs nothing while it waits, and starts in order when it is resumed."""

import msgspec
import pytest
from arq.connections import ArqRedis

from tests.support.turns import KEY, WORKER, claim, request
from turnwire.shared import keys
from turnwire.shared.errors import InvalidInput
from turnwire.shared.keys import SessionKey, TurnKey
from turnwire.shared.lanes import Lane
from turnwire.shared.model import Claimed, Paused, Unserved
from turnwire.shared.store import pausing as module
from turnwire.shared.store.connect import connect
from turnwire.shared.store.erasures import Erasures
from turnwire.shared.store.pausing import Pausing
from turnwire.shared.store.queue import Room, TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.store.waking import cancel_and_wake
from turnwire.worker.pool.rebuild import Rebuild

ACME = [SessionKey("acme", f"s{number}").turn(0) for number in range(4)]
OTHER = SessionKey("globex", "s").turn(0)


@pytest.fixture
def pausing(store, queue) -> Pausing:
    return Pausing(store, queue)


async def asked(store: TurnStore, queue: TurnQueue, *turns: TurnKey, **fields) -> None:
    for key in turns:
        await store.submit(key, request(**fields))
        await queue.enqueue(key.run_id, lane=fields.get("lane", Lane()))


async def taken(queue: TurnQueue, count: int = 10, room: Room | None = None) -> list[str]:
    return [job.job_id for job in (await queue.take(WORKER, count, room=room or Room(slots=10)))[0]]


async def held(redis: ArqRedis, field: str) -> list[str]:
    return [name.decode() for name in await redis.zrange(keys.HELD_PREFIX + field, 0, -1)]


async def test_turns_of_a_paused_tenant_wait_and_others_do_not(store, queue, redis, pausing):
    await asked(store, queue, *ACME[:2], OTHER)
    since = (await pausing.pause("tenant", "acme")).since
    assert (await pausing.pause("tenant", "acme")).since == since
    await asked(store, queue, *ACME[2:])
    room = Room(slots=10)
    assert await taken(queue, room=room) == [OTHER.run_id]
    assert room.paused == {"tenant:acme"}
    assert await held(redis, "tenant:acme") == [key.run_id for key in ACME]
    [paused] = (await queue.view()).paused
    assert (paused.kind, paused.name, paused.since) == ("tenant", "acme", since)
    await pausing.resume("tenant", "acme")
    assert await taken(queue) == [key.run_id for key in ACME]
    assert (await queue.view()).paused == []
    assert await redis.exists(keys.PAUSED, keys.HELD_PREFIX + "tenant:acme") == 0


async def test_waiting_costs_nothing(store, queue, redis, pausing):
    await asked(store, queue, *ACME)
    await pausing.pause("tenant", "acme")
    await taken(queue)
    before = await redis.info("commandstats")
    _, wait_ms = await queue.take(WORKER, 10)
    assert wait_ms is None  # nothing is due, so nobody looks again before a hint comes
    after = await redis.info("commandstats")
    assert after.get("cmdstat_zpopmin") == before.get("cmdstat_zpopmin")
    await redis.zadd(keys.OPEN_TURNS, {key.run_id: 1 for key in ACME})
    assert (await queue.due("w")).jobs == []  # the sweep looks at none of them


async def test_a_resumed_tenant_wakes_idle_workers(store, queue, redis, pausing):
    await asked(store, queue, *ACME)
    await pausing.pause("tenant", "acme")
    await taken(queue)
    await redis.delete(keys.HINTS)
    await pausing.resume("tenant", "acme")
    assert await redis.llen(keys.HINTS) == len(ACME)


async def test_a_turn_of_a_paused_project_is_not_started_and_holds_up_no_other_project(store, queue, redis, pausing):
    await asked(store, queue, ACME[0], project="legal")
    await asked(store, queue, ACME[1], project="tax")
    await pausing.pause("project", "legal")
    room = Room(slots=10)
    jobs, _ = await queue.take(WORKER, 10, room=room)
    assert [job.job_id for job in jobs] == [key.run_id for key in ACME[:2]]
    refused = await store.claim(ACME[0], WORKER, paused=room.paused)
    assert isinstance(refused, Paused)
    assert (refused.kind, refused.name) == ("project", "legal")
    assert isinstance(await store.claim(ACME[1], WORKER, paused=room.paused), Claimed)
    await queue.hold(WORKER, jobs[0], "project:legal", refused.since_us)
    assert await held(redis, "project:legal") == [ACME[0].run_id]
    assert await redis.exists(keys.in_progress(ACME[0].run_id)) == 0
    assert await taken(queue) == []
    assert (await store.existing(ACME[0])).attempt == 0
    await pausing.resume("project", "legal")
    assert await taken(queue) == [ACME[0].run_id]


async def test_a_job_that_is_held_too_late_is_due(store, queue, redis, pausing):
    await asked(store, queue, KEY, project="legal")
    [job], _ = await queue.take(WORKER, 1)
    await queue.hold(WORKER, job, "project:legal", 1)
    assert await held(redis, "project:legal") == []
    assert await taken(queue) == [KEY.run_id]


async def test_holding_twice_is_holding_once_and_leaves_the_job_of_another_worker(store, queue, redis, pausing, twice):
    await pausing.pause("project", "legal")
    await asked(store, queue, KEY, project="legal")
    [job], _ = await queue.take(WORKER, 1)
    await queue.hold("host/9/b", job, "project:legal", 1)
    assert await held(redis, "project:legal") == []
    await twice(lambda: queue.hold(WORKER, job, "project:legal", 1_000_000))
    assert await held(redis, "project:legal") == [KEY.run_id]


async def test_what_runs_goes_on(store, queue, pausing):
    everything = {"tenant:default", "project:legal"}
    await store.submit(KEY, request(project="legal"))
    assert isinstance(await store.claim(KEY, WORKER, paused=everything), Paused)
    claimed = await claim(store)
    await store.redis.delete(KEY.lease)
    taken_over = await store.claim(KEY, "host/2/b", company=1, paused=everything)
    assert isinstance(taken_over, Claimed)
    assert taken_over.attempt == claimed.attempt + 1
    await store.handover(taken_over)
    assert isinstance(await store.claim(KEY, WORKER, paused=everything), Claimed)


async def test_a_pause_comes_before_the_question_who_serves_the_project(store, queue):
    await store.submit(KEY, request(project="legal"))
    assert isinstance(await store.claim(KEY, WORKER, ["tax"]), Unserved)
    assert isinstance(await store.claim(KEY, WORKER, ["tax"], paused={"project:legal"}), Paused)


async def test_other_jobs_of_a_paused_tenant_are_done(store, queue, pausing):
    await pausing.pause("tenant", "acme")
    await asked(store, queue, ACME[0])
    await queue.enqueue_persist(ACME[1].run_id)
    await queue.enqueue_callback(ACME[2].run_id)
    assert len(await taken(queue)) == 2


async def test_a_cancelled_turn_is_not_held(store, queue, redis, pausing):
    await pausing.pause("tenant", "acme")
    await asked(store, queue, *ACME[:2])
    await taken(queue)
    await cancel_and_wake(store, queue, ACME[0], "")
    assert await held(redis, "tenant:acme") == [ACME[1].run_id]
    assert await taken(queue) == [ACME[0].run_id]  # whoever takes it does what is left to do


async def test_an_erased_turn_is_not_held(store, queue, redis, pausing):
    await pausing.pause("tenant", "acme")
    await asked(store, queue, *ACME[:2])
    await taken(queue)
    await Erasures(store, queue).erase_session(ACME[0].session)
    assert await held(redis, "tenant:acme") == [ACME[1].run_id]
    assert ACME[0].run_id in await taken(queue)


async def test_the_sweep_goes_on_where_a_resuming_process_has_died(store, queue, redis, pausing, monkeypatch):
    await pausing.pause("tenant", "acme")
    await asked(store, queue, *ACME)
    await taken(queue)
    monkeypatch.setattr(module, "TOGETHER", 1)
    names = [keys.QUEUE, keys.HINTS, keys.PAUSED, keys.HELD_PREFIX + "tenant:acme"]
    prefixes = [keys.LANE_PREFIX, keys.TENANTS_PREFIX, keys.DEBTS_PREFIX, keys.WAITING_PREFIX, keys.AGEING_PREFIX]
    assert await module.RESUME(pausing._courier, names, ["tenant:acme", 1, *prefixes]) == 3
    assert (await queue.view()).paused == []
    assert await taken(queue) == [ACME[0].run_id]
    await pausing.go_on()
    assert await taken(queue) == [key.run_id for key in ACME[1:]]


async def test_batch_turns_go_back_to_their_lane(store, queue, redis, pausing):
    await pausing.pause("tenant", "acme")
    await asked(store, queue, ACME[0], lane=Lane(priority="batch"))
    await taken(queue)
    await pausing.resume("tenant", "acme")
    assert await redis.zscore(keys.AGEING_PREFIX + "default", ACME[0].run_id) is not None
    assert await taken(queue) == [ACME[0].run_id]


async def test_so_many_may_be_paused(pausing, monkeypatch):
    monkeypatch.setattr(module, "MOST_PAUSED", 1)
    await pausing.pause("project", "legal")
    with pytest.raises(InvalidInput):
        await pausing.pause("project", "tax")
    await pausing.resume("project", "legal")


async def test_a_queue_that_was_lost_learns_again_what_is_paused(store, redis, redis_url, settings):
    other = redis_url + ("&" if "?" in redis_url else "?") + "db=9"
    queue_redis = connect(other, connections=2)
    try:
        two = msgspec.structs.replace(settings, queue_redis_url=other)
        queue, apart = TurnQueue(queue_redis, two), TurnStore(redis, two)
        pausing = Pausing(apart, queue)
        await pausing.pause("tenant", "acme")
        since = (await queue.view()).paused[0].since
        await queue_redis.flushdb()
        await asked(apart, queue, ACME[0])
        await Rebuild(apart, queue).now()
        assert [each.since for each in (await queue.view()).paused] == [since]
        assert await taken(queue) == []
        await pausing.resume("tenant", "acme")
        assert await redis.exists(keys.PAUSED) == 0
    finally:
        await queue_redis.flushdb()
        await queue_redis.aclose(close_connection_pool=True)
