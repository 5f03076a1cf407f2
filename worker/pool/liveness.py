"""Notices within a second that another worker's process is gone, because its connection to Redis is gone.

Each worker registers the client id of one connection. While others run turns, every worker asks Redis for those ids
every 250 ms. A worker whose id is missing twice, and that has sent no heartbeat in between, is buried: its leases end
now and its jobs are due now. A wrong suspicion does no harm, because the fence refuses what the suspect still writes.

Wrong suspicions are rare. An id counts only on the Redis process that gave it out, so a restart of Redis buries nobody.
A worker that reconnects registers its new id at once. Where CLIENT LIST is not permitted, nobody is suspected, and a
dead worker is noticed when its leases end.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from turnwire.shared.errors import BadRequest, StoreUnavailable
from turnwire.shared.keys import QUEUE, TurnKey, is_persist_id, run_id_of
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.pool.entry import read_entry

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.25  # between two looks at the other workers
IDLE_LOOK_S: Final = 0.6  # the same, while no other worker runs anything
ANSWER_S: Final = 2.0  # a connection that does not answer for so long counts as broken


class HeldConnection:
    """One connection. Unlike those of a pool, it is not replaced silently when it breaks: its next call fails."""

    def __init__(self, redis: Redis) -> None:
        pool: Any = redis.connection_pool
        self._connection = pool.make_connection()

    async def connect(self) -> tuple[int, str]:
        """Connect. Returns the client id, and the run id of the server that gave it out."""
        async with asyncio.timeout(ANSWER_S):
            await self._connection.connect()
        client_id = await self.call("CLIENT", "ID")
        server = re.search(rb"run_id:(\w+)", await self.call("INFO", "server"))
        return client_id, server[1].decode() if server else ""

    async def call(self, *command: str | int) -> Any:
        """Send a command. Returns the raw reply.

        Raises:
            ResponseError: Redis refuses the command.
            RedisError, OSError, TimeoutError: the connection broke, or Redis did not answer within 2 s.
        """
        async with asyncio.timeout(ANSWER_S):
            await self._connection.send_command(*command, check_health=False)
            return await self._connection.read_response()

    async def close(self) -> None:
        """Close the connection, whatever state it is in."""
        await self._connection.disconnect(nowait=True)


class Liveness:
    """Watches the other workers over a connection of its own. This connection also stands for this process."""

    def __init__(self, redis: Redis, store: TurnStore, queue: TurnQueue, worker_id: str) -> None:
        self.client_id = 0  # 0: no connection stands for this process now
        self.server = ""
        self._redis = redis
        self._store = store
        self._queue = queue
        self._worker_id = worker_id
        self._missed: dict[str, bytes] = {}  # worker id -> its entry when it was first missed

    async def run(self, running: Callable[[], int], register: Callable[[], None]) -> None:
        """Watch until cancelled. `running`: turns here; `register`: has a heartbeat sent now."""
        while True:
            connection = HeldConnection(self._redis)
            try:
                self.client_id, self.server = await connection.connect()
                register()
                await self._watch(connection, running)
            except NoPermissionError as error:  # any other refusal may be over in a moment
                logger.warning("Redis refuses CLIENT LIST (%s): dead workers are noticed when leases end", error)
                return
            except (RedisError, OSError, TimeoutError, StoreUnavailable) as error:
                logger.warning("watching workers: Redis failed (%s); connecting again", type(error).__name__)
            finally:
                self.client_id, self._missed = 0, {}
                await connection.close()
            await asyncio.sleep(LOOK_S)

    async def _watch(self, connection: HeldConnection, running: Callable[[], int]) -> None:
        while True:
            others_run = await connection.call("ZCARD", QUEUE) > running()
            if others_run:
                await self._look(connection)
            await asyncio.sleep(LOOK_S if others_run else IDLE_LOOK_S)

    async def _look(self, connection: HeldConnection) -> None:
        entries = {
            worker: entry for worker, entry in (await self._queue.workers()).items() if worker != self._worker_id
        }
        expected: dict[int, str] = {}
        for worker, raw in entries.items():
            entry = read_entry(raw)
            if entry is not None and entry.client_id and entry.server == self.server:
                expected[entry.client_id] = worker
        if not expected:
            return
        clients = await connection.call("CLIENT", "LIST", "ID", *expected)
        connected = {int(client_id) for client_id in re.findall(rb"(?m)^id=(\d+)", clients)}
        missing = {worker for client_id, worker in expected.items() if client_id not in connected}
        dead = [worker for worker in missing if self._missed.get(worker) == entries[worker]]
        self._missed = {worker: entries[worker] for worker in missing}
        for worker in dead:
            entry = read_entry(entries[worker])
            ran = entry.running if entry is not None else 0
            count = await bury(self._store, self._queue, worker, entries[worker], ran)
            if count is not None:
                logger.warning("worker %s is gone; its %d jobs can be taken over now", worker, count)
            self._missed.pop(worker, None)


async def bury(store: TurnStore, queue: TurnQueue, worker: str, entry: bytes, ran: int | None) -> int | None:
    """End the leases of a worker, then let its jobs be taken: in this order, so that they can be claimed.

    Called for a dead worker by another one, and by a stopping worker for itself. `ran`: how many jobs its last
    heartbeat said that it ran; None: it has stopped in order, and that counts against none of its jobs.

    Returns: how many jobs it had; None if it has registered again since `entry`.
    """
    job_ids = await queue.owned(worker)
    turns: dict[bool, list[TurnKey]] = {False: [], True: []}  # those that it ran, those whose answer it persisted
    for job_id in job_ids:
        with suppress(BadRequest):  # it is no job of ours
            turns[is_persist_id(job_id)].append(TurnKey.parse(run_id_of(job_id)))
    company = 0 if ran is None else max(ran, len(job_ids))
    await store.free(turns[False], worker, company)
    await store.free(turns[True], worker, company, persists=True)
    return len(job_ids) if await queue.bury(worker, entry, job_ids) else None
