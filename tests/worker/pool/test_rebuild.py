"""A queue is filled again from the turns, twice in each lineage of the data: jobs or the ends of turns may be lost."""

import msgspec
import pytest

from tests.support.turns import SESSION, WORKER, claim, request
from turnwire.shared import keys
from turnwire.shared.keys import SessionKey, persist_id
from turnwire.shared.lanes import DEFAULT_LANE, Lane
from turnwire.shared.ledger import decode_row
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.settings import Settings
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.pool.rebuild import Rebuild
from turnwire.worker.pool.sweep import Sweep

QUEUED, SUSPENDED, RUNNING, COMPLETED, PENDING = (SESSION.turn(index) for index in range(5))


@pytest.fixture
def settings(settings: Settings, redis_url: str) -> Settings:
    """As if the queue were on another server."""
    return msgspec.structs.replace(settings, queue_redis_url=f"{redis_url}?db=0")


@pytest.fixture
async def turns(store: TurnStore, redis):
    """One turn of each kind; none has a job."""
    for key in (QUEUED, SUSPENDED, RUNNING, COMPLETED, PENDING):
        await store.submit(key, request(on_busy="concurrent"))
    await store.suspend(await claim(store, SUSPENDED), "go", None, 1, b"{}")
    await claim(store, RUNNING)
    for key, persist in ((COMPLETED, "done"), (PENDING, "pending")):
        await store.settle(await claim(store, key), TurnState.COMPLETED, 1, [], {"persist": persist})
    yield
    await redis.flushall()  # rows of turns that have no job


async def looked_at(redis) -> set[str]:
    return {job_id.decode() for job_id in await redis.zrange(keys.OPEN_TURNS, 0, -1)}


@pytest.mark.usefixtures("turns")
async def test_the_sweep_looks_at_every_turn_that_should_have_a_job(store, queue, redis):
    assert await Rebuild(store, queue).if_needed() > 0
    expected = {QUEUED.run_id, SUSPENDED.run_id, RUNNING.run_id, persist_id(PENDING.run_id)}
    assert await looked_at(redis) == expected
    await redis.zadd(keys.OPEN_TURNS, dict.fromkeys(expected, 0))
    await Sweep(store, queue, WORKER).once()
    jobs = {job_id.decode() for job_id in await redis.zrange(keys.QUEUE, 0, -1)}
    assert jobs == {QUEUED.run_id, RUNNING.run_id, persist_id(PENDING.run_id)}


async def test_each_turn_stands_in_its_own_line_again(store, queue, redis):
    lanes = {SessionKey("acme", "s").turn(0): Lane("gpu", "batch"), SessionKey("other", "s").turn(0): DEFAULT_LANE}
    for key, lane in lanes.items():
        await store.submit(key, request(lane=lane))
        await queue.enqueue(key.run_id, lane=lane)
    await redis.delete(
        *[name for name in await redis.keys("*") if not name.startswith((b"turn:", b"turns:", b"open:"))]
    )
    await Rebuild(store, queue).if_needed()
    await redis.zadd(keys.OPEN_TURNS, {key.run_id: 0 for key in lanes})
    await Sweep(store, queue, WORKER).once()
    for key, lane in lanes.items():
        assert await redis.zrange(keys.line(lane.name, key.session.tenant)[2], 0, -1) == [key.run_id.encode()]
    await redis.flushall()


@pytest.mark.usefixtures("turns")
@pytest.mark.parametrize("lost", [keys.FILLED_IN, keys.FILLED_FROM])
async def test_it_is_done_twice_in_each_lineage_of_either_server(store, queue, redis, lost):
    rebuild = Rebuild(store, queue)

    async def has_looked() -> bool:
        await redis.delete(keys.OPEN_TURNS)
        await rebuild.if_needed()
        return len(await looked_at(redis)) == 4

    assert await has_looked()
    assert not await has_looked()
    rebuild.late_s = -1
    await redis.set(lost, "another")
    rebuild._first = None  # as another worker
    assert await has_looked()
    assert await has_looked()
    assert not await has_looked()


async def test_a_turn_whose_end_was_lost_after_its_job_had_ended_runs_again(store, queue, redis, redis_url):
    """The primary acknowledges the end of a turn and dies; its worker ends the job on the new primary, which is the
    only server here. Whoever looks at the new primary before that still finds the job."""
    settings = Settings(redis_url=redis_url)
    one_server, its_queue = TurnStore(redis, settings), TurnQueue(redis, settings)
    rebuild = Rebuild(one_server, its_queue)
    rebuild.late_s = -1
    await one_server.submit(QUEUED, request())
    await its_queue.enqueue(QUEUED.run_id)
    [taken], _ = await its_queue.take(WORKER, 1)
    await claim(one_server, QUEUED)
    await rebuild.if_needed()
    await its_queue.end(WORKER, taken)
    assert await looked_at(redis) == set()
    await rebuild.if_needed()
    assert await looked_at(redis) == {QUEUED.run_id}
    await redis.zadd(keys.OPEN_TURNS, {QUEUED.run_id: 0})
    await redis.delete(QUEUED.lease)
    await Sweep(one_server, its_queue, WORKER).once()
    assert await redis.zrange(keys.QUEUE, 0, -1) == [QUEUED.run_id.encode()]
    await redis.flushall()


@pytest.mark.usefixtures("turns")
async def test_one_caller_rebuilds_at_a_time(store, queue, redis, settings):
    other, of_turns = TurnQueue(queue.redis, settings), await store.lineage()
    lineage = await queue.lost_lineage(of_turns)
    assert lineage
    assert await other.lost_lineage(of_turns) is None
    assert await queue.lost_lineage(of_turns) == lineage
    await redis.delete(keys.REBUILDING)  # the first one has died
    assert await other.lost_lineage(of_turns) == lineage
    await other.keep_lineage(lineage, of_turns)
    assert await queue.lost_lineage(of_turns) is None
    assert await other.lost_lineage(of_turns) is None


@pytest.mark.usefixtures("turns")
async def test_jobs_that_are_there_stay_as_they_are(store, queue, redis):
    await queue.enqueue(QUEUED.run_id)
    [taken], _ = await queue.take(WORKER, 1)
    score = await redis.zscore(keys.OPEN_TURNS, QUEUED.run_id)
    await Rebuild(store, queue).if_needed()
    assert await redis.zscore(keys.OPEN_TURNS, QUEUED.run_id) == score
    assert await redis.get(keys.job(QUEUED.run_id)) == taken.job


async def published(redis) -> list[tuple[str, int]]:
    rows = [decode_row(fields[1]) for _, fields in await redis.xrange(keys.LEDGER)]
    return sorted((row.run_id, row.attempt) for row in rows)


@pytest.mark.usefixtures("turns")
async def test_ledger_rows_of_ended_turns_are_published_again_once(store, queue, redis):
    await Rebuild(store, queue).now()
    both = [(COMPLETED.run_id, 1), (PENDING.run_id, 1)]
    assert await published(redis) == both
    assert (await queue.usage("default")).rows == 2
    assert (await Rebuild(store, queue).now()).published == 0
    assert await published(redis) == both
    assert 0 < await redis.pttl(keys.billed(COMPLETED.run_id)) <= store.settings.retention_ms


@pytest.mark.usefixtures("turns")
async def test_a_turn_that_was_asked_again_keeps_its_job(store, queue, redis):
    await queue.enqueue(COMPLETED.run_id)
    assert (await Rebuild(store, queue).now()).published == 2
    assert [job.job_id for job in (await queue.take(WORKER, 1))[0]] == [COMPLETED.run_id]
