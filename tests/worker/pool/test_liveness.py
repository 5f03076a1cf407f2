"""A worker whose connection is gone and whose heart does not beat is buried; every guard against a wrong suspicion."""

import asyncio
from contextlib import suppress

import msgspec
import pytest

from tests.support.turns import KEY, OTHER_WORKER, WORKER, submit_and_claim
from tests.support.waiting import wait_until
from turnwire.shared import keys
from turnwire.shared.store.connect import connect_listener
from turnwire.worker.pool import liveness
from turnwire.worker.pool.entry import WorkerEntry
from turnwire.worker.pool.liveness import Liveness, bury

LOOK_S = 0.02
RUN_ID = KEY.run_id


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch):
    monkeypatch.setattr(liveness, "LOOK_S", LOOK_S)
    monkeypatch.setattr(liveness, "IDLE_LOOK_S", LOOK_S)


@pytest.fixture
async def watcher(redis_url, store, queue):
    """The Liveness of OTHER_WORKER, watching."""
    client = connect_listener(redis_url)
    watching = Liveness(client, store, queue, OTHER_WORKER)

    beats = set()

    def register():
        entry = entry_of(watching.client_id, watching.server)
        beats.add(asyncio.create_task(queue.extend(OTHER_WORKER, entry, [])))

    task = asyncio.create_task(watching.run(lambda: 0, register))
    await wait_until(lambda: watching.client_id, "the watcher to connect")
    yield watching
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await asyncio.gather(*beats)
    await client.aclose(close_connection_pool=True)


@pytest.fixture
async def connection(redis_url):
    """The connection that stands for WORKER's process."""
    client = connect_listener(redis_url)
    await client.ping()
    yield client
    await client.aclose(close_connection_pool=True)


def entry_of(client_id: int, server: str, heartbeat: int = 1) -> bytes:
    return msgspec.json.encode(
        WorkerEntry(
            host="h", pid=1, version="0", started_at=1, heartbeat=heartbeat, at=1, running=1, capacity=1,
            client_id=client_id, server=server,
        )
    )  # fmt: skip


async def run_a_turn(store, queue, entry: bytes) -> None:
    """WORKER registers, takes the turn and has its lease."""
    await queue.enqueue(RUN_ID)
    await queue.take(WORKER, 1)
    await submit_and_claim(store)
    await queue.extend(WORKER, entry, [RUN_ID])


def gone(redis, name: str):
    async def look():
        return not await redis.exists(name)

    return look


async def test_a_worker_whose_connection_is_gone_loses_its_lease_and_its_job_at_once(
    store, queue, redis, watcher, connection
):
    await run_a_turn(store, queue, entry_of(await connection.client_id(), watcher.server))
    await connection.connection_pool.disconnect()
    await wait_until(gone(redis, keys.in_progress(RUN_ID)), "the job to be freed")
    assert not await redis.exists(KEY.lease)
    assert WORKER not in await queue.workers()
    assert [job.job_id for job in (await queue.take(OTHER_WORKER, 1))[0]] == [RUN_ID]


@pytest.fixture
def looks(queue, monkeypatch):
    """Counts how often the list of workers was read, and calls `before` each time."""

    class Looks:
        count = 0

        async def before(self) -> None:
            """Nothing happens between two looks."""

        async def several(self) -> None:
            """Wait for a few looks that begin now."""
            enough = self.count + 5
            await wait_until(lambda: self.count >= enough, "a few looks")

    counted, read = Looks(), queue.workers

    async def workers():
        await counted.before()
        counted.count += 1
        return await read()

    monkeypatch.setattr(queue, "workers", workers)
    return counted


async def test_a_worker_whose_connection_is_there_is_left_alone(store, queue, redis, watcher, connection, looks):
    await run_a_turn(store, queue, entry_of(await connection.client_id(), watcher.server))
    await looks.several()
    assert await redis.exists(KEY.lease, keys.in_progress(RUN_ID)) == 2
    assert WORKER in await queue.workers()


async def test_a_worker_whose_heart_still_beats_is_left_alone(
    store, queue, redis, watcher, connection, looks, monkeypatch
):
    client_id = await connection.client_id()
    await run_a_turn(store, queue, entry_of(client_id, watcher.server))

    async def beat():
        await queue.extend(WORKER, entry_of(client_id, watcher.server, looks.count + 2), [RUN_ID])

    monkeypatch.setattr(looks, "before", beat)
    await connection.connection_pool.disconnect()
    await looks.several()
    assert await redis.exists(KEY.lease, keys.in_progress(RUN_ID)) == 2
    assert WORKER in await queue.workers()


@pytest.mark.parametrize("entry", [entry_of(0, ""), entry_of(999_999, "another server"), b"{}", b"not json"])
async def test_who_cannot_be_seen_from_here_is_left_to_its_lease(store, queue, redis, watcher, looks, entry):
    await run_a_turn(store, queue, entry)
    await looks.several()
    assert await redis.exists(KEY.lease, keys.in_progress(RUN_ID)) == 2


async def test_a_watcher_that_lost_its_own_connection_registers_its_new_one(redis, queue, watcher):
    """redis-py reconnects a closed connection when it is taken from the pool, without an error: the id that stands
    for this process is then one that no longer exists, and all the others bury a worker that lives."""
    first = watcher.client_id
    await redis.execute_command("CLIENT", "KILL", "ID", first)
    await wait_until(lambda: watcher.client_id not in (0, first), "the watcher to connect again")

    async def registered():
        entries = await queue.workers()
        return msgspec.json.decode(entries[OTHER_WORKER])["client_id"] == watcher.client_id

    await wait_until(registered, "its new id to be registered")


async def test_a_worker_that_stops_gives_back_what_it_has(store, queue, redis, watcher):
    """Its own burial: what it had claimed and not yet begun is taken by others at once."""
    await queue.enqueue(RUN_ID)
    await queue.take(OTHER_WORKER, 1)
    entry = (await queue.workers())[OTHER_WORKER]
    await bury(store, queue, OTHER_WORKER, entry, 1)
    assert await queue.workers() == {}
    assert [job.job_id for job in (await queue.take(WORKER, 1))[0]] == [RUN_ID]
