"""A worker whose connection is gone and whose heart does not beat is buried; every guard against a wrong suspicion."""

import asyncio
from contextlib import suppress

import msgspec
import pytest

from tests.support.scraped import grows
from tests.support.turns import KEY, OTHER_WORKER, SESSION, WORKER, calls_of, submit_and_claim
from tests.support.waiting import wait_until
from turnwire.shared import channels, keys
from turnwire.shared.store.connect import connect_listener
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.worker_entry import WorkerEntry
from turnwire.worker.pool import liveness
from turnwire.worker.pool.liveness import HeldConnection, Liveness, bury

LOOK_S = 0.02
RUN_ID = KEY.run_id


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch):
    monkeypatch.setattr(liveness, "LOOK_S", LOOK_S)
    monkeypatch.setattr(liveness, "IDLE_LOOK_S", LOOK_S)
    monkeypatch.setattr(liveness, "ALONE_LOOK_S", LOOK_S)


@pytest.fixture
async def watcher(redis_url, store, queue):
    """The Liveness of OTHER_WORKER, watching."""
    client = connect_listener(redis_url)
    watching = Liveness(client, store, queue, OTHER_WORKER)

    beats = set()

    def register():
        beats.add(asyncio.create_task(queue.extend(OTHER_WORKER, entry_of(watching.server), [])))

    task = asyncio.create_task(watching.run(lambda: 0, register))
    await wait_until(lambda: watching.server, "the watcher to connect")
    yield watching
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await asyncio.gather(*beats)
    await client.aclose(close_connection_pool=True)


@pytest.fixture
async def connection(redis_url, settings):
    """The connection that stands for WORKER's process."""
    client = connect_listener(redis_url)
    held = HeldConnection(client)
    await held.subscribe(alive(settings, WORKER))
    yield held
    await held.close()
    await client.aclose(close_connection_pool=True)


def alive(settings, worker: str) -> str:
    return channels.alive_channel(settings.deployment_name, worker)


async def subscribe(held: HeldConnection, *channels: str) -> None:
    for channel in channels:
        await held._call("SUBSCRIBE", channel)


def entry_of(server: str, heartbeat: int = 1) -> bytes:
    return msgspec.json.encode(
        WorkerEntry(
            host="h", pid=1, version="0", started_at=1, heartbeat=heartbeat, at=1, running=1, capacity=1, server=server
        )
    )  # fmt: skip


async def run_a_turn(store, queue, entry: bytes) -> None:
    """WORKER registers, takes the turn and has its lease."""
    await queue.enqueue(RUN_ID)
    await queue.take(WORKER, 1)
    await submit_and_claim(store)
    await queue.extend(WORKER, entry, [RUN_ID])


def gone(redis, *names: str):
    async def look():
        return not await redis.exists(*names)

    return look


async def test_a_worker_whose_connection_is_gone_loses_its_lease_and_its_job_at_once(
    store, queue, redis, watcher, connection
):
    await run_a_turn(store, queue, entry_of(watcher.server))
    await connection.close()
    await wait_until(gone(redis, keys.in_progress(RUN_ID)), "the job to be freed")
    assert not await redis.exists(KEY.lease)
    assert WORKER not in await queue.workers()
    assert [job.job_id for job in (await queue.take(OTHER_WORKER, 1))[0]] == [RUN_ID]


@pytest.fixture
def looks(queue, monkeypatch):
    """Counts how often a worker looked at others, and calls `before` each time."""

    class Looks:
        count = 0

        async def before(self) -> None:
            """Nothing happens between two looks."""

        async def several(self) -> None:
            """Wait for a few looks that begin now."""
            enough = self.count + 5
            await wait_until(lambda: self.count >= enough, "a few looks")

    counted, watch = Looks(), queue.watch

    async def watched(*args):
        await counted.before()
        counted.count += 1
        return await watch(*args)

    monkeypatch.setattr(queue, "watch", watched)
    return counted


async def test_a_worker_whose_connection_is_there_is_left_alone(store, queue, redis, watcher, connection, looks):
    await run_a_turn(store, queue, entry_of(watcher.server))
    await looks.several()
    assert await redis.exists(KEY.lease, keys.in_progress(RUN_ID)) == 2
    assert WORKER in await queue.workers()


async def test_a_worker_whose_heart_still_beats_is_left_alone(
    store, queue, redis, watcher, connection, looks, monkeypatch
):
    await run_a_turn(store, queue, entry_of(watcher.server))

    async def beat():
        await queue.extend(WORKER, entry_of(watcher.server, looks.count + 2), [RUN_ID])

    monkeypatch.setattr(looks, "before", beat)
    await connection.close()
    await looks.several()
    assert await redis.exists(KEY.lease, keys.in_progress(RUN_ID)) == 2
    assert WORKER in await queue.workers()


@pytest.mark.parametrize("entry", [entry_of(""), entry_of("another server"), b"{}", b"not json"])
async def test_who_cannot_be_seen_from_here_is_left_to_its_lease(store, queue, redis, watcher, looks, entry):
    await run_a_turn(store, queue, entry)
    await looks.several()
    assert await redis.exists(KEY.lease, keys.in_progress(RUN_ID)) == 2


async def test_a_watcher_that_lost_its_connection_subscribes_again_at_once(redis, queue, watcher, settings, looks):
    await queue.extend(WORKER, entry_of(""), [])  # so that there is somebody to look at
    channel = alive(settings, OTHER_WORKER)
    for client in await redis.client_list(_type="pubsub"):
        await redis.execute_command("CLIENT", "KILL", "ID", client["id"])
    heartbeat = (await queue.workers())[OTHER_WORKER]

    async def subscribed():
        return dict(await redis.pubsub_numsub(channel))[channel.encode()] == 1

    await wait_until(subscribed, "the watcher to subscribe again")
    await looks.several()
    assert (await queue.workers())[OTHER_WORKER] == heartbeat, "nobody has buried it"


async def test_a_worker_that_stops_gives_back_what_it_has(store, queue, redis, watcher):
    """Its own burial: what it had claimed and not yet begun is taken by others at once."""
    await queue.enqueue(RUN_ID)
    await queue.take(OTHER_WORKER, 1)
    entry = (await queue.workers())[OTHER_WORKER]
    await bury(store, queue, OTHER_WORKER, entry, 1)
    assert await queue.workers() == {}
    assert [job.job_id for job in (await queue.take(WORKER, 1))[0]] == [RUN_ID]


@pytest.fixture
async def dead(store, queue, watcher):
    """Register workers whose connections are gone, each with a job; returns the ids of the jobs."""

    async def register(*workers: str) -> list[str]:
        run_ids = [SESSION.turn(index).run_id for index in range(len(workers))]
        for worker, run_id in zip(workers, run_ids, strict=True):
            await queue.enqueue(run_id)
            await queue.take(worker, 1)
            await queue.extend(worker, entry_of(watcher.server), [run_id])
        return run_ids

    return register


async def test_all_that_die_at_once_are_found_by_the_one_that_is_left(queue, redis, watcher, dead):
    """Nobody is left to watch those in the middle of them: whoever misses a neighbour looks at all workers."""
    run_ids = await dead(*[f"host/1/{number}" for number in range(20)])
    with grows("worker", "turnwire_buried_workers_total"):
        await wait_until(gone(redis, *map(keys.in_progress, run_ids)), "all jobs to be freed")
    assert set(await queue.workers()) <= {OTHER_WORKER}
    assert set(await redis.zrange(keys.RING, 0, -1)) <= {OTHER_WORKER.encode()}


async def test_a_worker_that_beats_no_more_is_taken_off_the_list_by_the_sweeper(
    store, queue, redis, watcher, monkeypatch
):
    """It may stand still, or be dead and of the version before, which joined no ring: nobody misses its connection."""
    monkeypatch.setattr(liveness, "WHOLE_S", 2 * LOOK_S)
    monkeypatch.setattr(liveness, "SILENT_S", 0)
    monkeypatch.setattr(watcher._store, "settings", msgspec.structs.replace(store.settings, lease_ms=100))
    await run_a_turn(store, queue, b'{"client_id":7}')
    await redis.zrem(keys.RING, WORKER)
    await queue.due(OTHER_WORKER)

    async def off_the_list():
        await queue.extend(OTHER_WORKER, entry_of("", next(beats)), [])
        return WORKER not in await queue.workers()

    beats = iter(range(10**6))
    await wait_until(off_the_list, "the silent worker to be buried")
    assert OTHER_WORKER in await queue.workers()


@pytest.mark.parametrize("others", [10, 100])
async def test_a_look_costs_the_same_in_any_pool(queue, redis, watcher, connection, settings, looks, others):
    await subscribe(connection, *(alive(settings, f"host/1/{number}") for number in range(others)))
    for number in range(others):
        await queue.extend(f"host/1/{number}", entry_of(watcher.server), [])
    await redis.config_resetstat()
    before = looks.count
    await looks.several()
    assert await calls_of(redis, "pubsub|numsub") + await calls_of(redis, "pubsub") <= looks.count - before + 1
    assert await calls_of(redis, "hgetall") == 0


async def test_a_worker_whose_neighbour_was_buried_by_others_watches_the_next(
    queue, redis, watcher, connection, settings, dead, looks
):
    neighbours = ("host/2/c", "host/2/d")
    await subscribe(connection, *(alive(settings, neighbour) for neighbour in neighbours))
    for neighbour in neighbours:
        await queue.extend(neighbour, entry_of(watcher.server), [])
    await looks.several()
    for neighbour in neighbours:
        assert await queue.bury(neighbour, entry_of(watcher.server), [])
    [run_id] = await dead("host/3/e")
    await wait_until(gone(redis, keys.in_progress(run_id)), "the job to be freed")


async def test_without_the_permission_nobody_is_suspected(redis, redis_url, settings, caplog):
    await redis.execute_command("ACL", "SETUSER", "plain", "on", "nopass", "~*", "&*", "+@all", "-pubsub")
    await TurnQueue(redis, settings).extend(OTHER_WORKER, entry_of(""), [])
    client = connect_listener(f"{redis_url}?username=plain&password=any")
    try:
        store, queue = TurnStore(client, settings), TurnQueue(client, settings)
        await asyncio.wait_for(Liveness(client, store, queue, WORKER).run(lambda: 0, lambda: None), 5)
    finally:
        await client.aclose(close_connection_pool=True)
        await redis.execute_command("ACL", "DELUSER", "plain")
    assert "dead workers are noticed when leases end" in caplog.text


async def test_workers_that_are_found_dead_in_one_look_died_together(store, queue, monkeypatch):
    """Each of them counts with the jobs of all, so nobody is taken for the one that killed a pool."""
    freed = []

    async def free(keys, worker, company, *, elsewhere=0, persists=False):
        freed.append((worker, company, elsewhere))

    monkeypatch.setattr(store, "free", free)
    await bury(store, queue, OTHER_WORKER, b"", 3, 7)
    assert freed == [(OTHER_WORKER, 3, 7)] * 2
