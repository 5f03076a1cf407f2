"""Notices within a second that another worker's process is gone, because its connection to Redis is gone.

The process of each worker holds a connection on which it subscribes to a channel of its own. All workers form a ring in
the order of their ids. Each worker asks Redis whether the 32 workers that follow it still subscribe: every eight
seconds in a large pool, and more often in a small one, where fewer watch the same worker. So each worker is looked at
about four times a second in a large pool, and eight times in a small one. If one is missing, whoever looked asks about
all workers, because others may have died at the same moment. A worker that is missing again 250 ms later, and that has
sent no heartbeat in between, is buried: its leases end now and its jobs are due now. A wrong suspicion does no harm,
because the fence refuses what the suspect writes.

So the cost of watching grows with the number of workers, not with its square, and not with the number of clients:
CLIENT LIST ID, which could tell the same, reads all connections on some servers.

Wrong suspicions are rare. A worker counts as missing only on the Redis process on which it has subscribed, so a restart
or a failover of Redis buries nobody. A worker that loses its connection subscribes again at once. Where PUBSUB is not
permitted, nobody is suspected, and a dead worker is noticed when its leases end.

The worker that sweeps also takes those off the list whose entries have not changed for many heartbeats: they stand
still, their hosts are gone, or they are dead workers of a version that joined no ring.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from turnwire.shared.channels import alive_channel
from turnwire.shared.errors import BadRequest, StoreUnavailable
from turnwire.shared.keys import TurnKey, is_persist_id, run_id_of
from turnwire.shared.metrics import counter
from turnwire.shared.replies import Watched
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.worker_entry import WorkerEntry, read_entry

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.25  # between two looks at a worker that two others watch; all others of a small pool, and suspects
IDLE_LOOK_S: Final = 0.6  # the same, at least, while no other worker runs anything
ALONE_LOOK_S: Final = 1.0  # between two looks whether there are other workers, while there are none
NEIGHBOURS: Final = 32  # how many workers each worker watches; a look at many costs hardly more than one at few
WHOLE_S: Final = 5.0  # between two looks of the worker that sweeps at the list of workers
SILENT_S: Final = 15.0  # a worker whose entry has not changed for so long, and for three leases, is taken off the list
PING_S: Final = 15.0  # after so much silence, a ping checks that the held connection still works
ANSWER_S: Final = 2.0  # a connection that does not answer for so long counts as broken

_BURIED: Final = counter("turnwire_buried_workers_total")
_REFUSED = re.compile(r"can't run this command|no permissions")  # inside a script, Redis tells it in words only


class HeldConnection:
    """One connection that subscribes to a channel. Its end is noticed at once, here and by the server."""

    def __init__(self, redis: Redis) -> None:
        pool: Any = redis.connection_pool
        self._connection = pool.make_connection()

    async def subscribe(self, channel: str) -> str:
        """Connect and subscribe. Returns the run id of the server.

        Raises:
            ResponseError: Redis refuses it.
            RedisError, OSError, TimeoutError: there is no connection, or Redis did not answer within 2 s.
        """
        async with asyncio.timeout(ANSWER_S):
            await self._connection.connect()
        server = re.search(rb"run_id:(\w+)", await self._call("INFO", "server"))
        await self._call("SUBSCRIBE", channel)
        return server[1].decode() if server else ""

    async def until_broken(self, on_message: Callable[[], None]) -> None:
        """Wait for as long as the connection works; raises RedisError, OSError or TimeoutError then.

        `on_message` is called for each message of the channel.
        """
        while True:
            try:
                async with asyncio.timeout(PING_S):
                    reply = await self._read()
                if isinstance(reply, list) and reply and reply[0] == b"message":
                    on_message()
            except TimeoutError:
                await self._call("PING")

    async def _call(self, *command: str) -> Any:
        async with asyncio.timeout(ANSWER_S):
            await self._connection.send_command(*command, check_health=False)
            return await self._read()

    async def _read(self) -> Any:
        return await self._connection.read_response(disconnect_on_error=False)

    async def close(self) -> None:
        """Close the connection, whatever state it is in."""
        await self._connection.disconnect(nowait=True)


class Liveness:
    """Watches the other workers, and holds the connection that stands for this process."""

    def __init__(self, redis: Redis, store: TurnStore, queue: TurnQueue, worker_id: str) -> None:
        self.server = ""  # the Redis process that the connection leads to; empty: no connection stands for this process
        self._redis = redis
        self._store = store
        self._queue = queue
        self._worker_id = worker_id
        self._channel = alive_channel(store.settings.deployment_name, worker_id)
        self._missed: dict[str, bytes] = {}  # worker id -> its entry when it was first missed
        self._silent: dict[str, tuple[bytes, float]] = {}  # worker id -> its entry, and since when it has not changed
        self._whole_at_s = 0.0  # when to look at the list again, if this worker sweeps
        self._alone = False  # there was no other worker at the last look

    async def run(self, running: Callable[[], int], register: Callable[[], None]) -> None:
        """Watch until cancelled. `running`: turns here; `register`: has a heartbeat sent now."""
        while True:
            began_s, connection = time.monotonic(), HeldConnection(self._redis)
            try:
                self.server = await connection.subscribe(self._channel)
                register()
                await self._watch_while(connection, running, register)
            except NoPermissionError as error:  # any other refusal may be over in a moment
                logger.warning("Redis refuses PUBSUB (%s): dead workers are noticed when leases end", error)
                return
            except (RedisError, OSError, TimeoutError) as error:
                logger.warning("watching workers: Redis failed (%s); connecting again", type(error).__name__)
            finally:
                self.server, self._missed = "", {}
                await connection.close()
            if time.monotonic() - began_s < LOOK_S:
                await asyncio.sleep(LOOK_S)

    async def _watch_while(
        self, connection: HeldConnection, running: Callable[[], int], register: Callable[[], None]
    ) -> None:
        """Watch until the connection breaks; raises what broke it.

        A message to this worker says that a heartbeat will bring something new.
        """
        broken = asyncio.create_task(connection.until_broken(register), name="held connection")
        try:
            while not broken.done():
                await asyncio.wait({broken}, timeout=await self._look(running()))
            await broken
        finally:
            broken.cancel()
            await asyncio.wait({broken})

    async def _look(self, running: int) -> float:
        """Look at the neighbours; and at all workers if one is missing. Returns after how many s to look again."""
        whole = time.monotonic() >= self._whole_at_s
        try:
            if self._alone and not whole and await self._queue.ring_size() <= 1:
                return ALONE_LOOK_S
            watched = await self._queue.watch(self._worker_id, NEIGHBOURS)
            self._alone = not watched.looked_at
            if watched.missing or self._missed:
                await self._bury_missing(await self._queue.watch(self._worker_id))
            if whole:
                self._whole_at_s = time.monotonic() + WHOLE_S
                await self._bury_silent(sweeps=watched.sweeps)
        except StoreUnavailable as error:
            logger.warning("watching workers: %s; trying again", error)
            self._missed = {}
            return LOOK_S
        except ResponseError as error:
            raise NoPermissionError(str(error)) if _REFUSED.search(str(error)) else error from None
        if self._missed:
            return LOOK_S
        if self._alone:
            return ALONE_LOOK_S
        watchers = watched.looked_at if watched.looked_at == NEIGHBOURS else watched.looked_at / 2
        pause_s = LOOK_S * max(watchers, 1)
        if watched.looked_at > 1:  # so that two who watch the same worker do not look at the same moment
            pause_s *= random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        return pause_s if watched.queued > running else max(pause_s, IDLE_LOOK_S)

    async def _bury_missing(self, watched: Watched) -> None:
        missed, self._missed = self._missed, {}
        dead: dict[str, WorkerEntry] = {}
        for worker, raw in watched.missing.items():
            entry = read_entry(raw)
            if entry is None or entry.server != watched.server:
                continue  # it has not subscribed on this server process yet
            if missed.get(worker) == raw:
                dead[worker] = entry
            else:
                self._missed[worker] = raw
        running = sum(entry.running for entry in dead.values())
        for worker, entry in dead.items():  # those that are missed in the same look died together
            await self._bury(worker, watched.missing[worker], "is gone", running - entry.running)

    async def _bury_silent(self, *, sweeps: bool) -> None:
        now_s, silent = time.monotonic(), self._silent
        self._silent = {}
        limit_s = max(SILENT_S, 3 * self._store.settings.lease_ms / 1000)
        if not sweeps:
            return
        for worker, raw in (await self._queue.workers()).items():
            before, since_s = silent.get(worker, (raw, now_s))
            since_s = since_s if before == raw else now_s
            if now_s - since_s >= limit_s and worker != self._worker_id:
                await self._bury(worker, raw, f"has sent no heartbeat for {limit_s:g} s")
            else:
                self._silent[worker] = raw, since_s

    async def _bury(self, worker: str, raw: bytes, why: str, elsewhere: int = 0) -> None:
        entry = read_entry(raw)
        ran = entry.running if entry is not None else 0
        count = await bury(self._store, self._queue, worker, raw, ran, elsewhere)
        if count is not None:
            _BURIED.add()
            logger.warning("worker %s %s; its %d jobs can be taken over now", worker, why, count)


async def bury(
    store: TurnStore, queue: TurnQueue, worker: str, entry: bytes, ran: int | None, elsewhere: int = 0
) -> int | None:
    """End the leases of a worker, then let its jobs be taken: in this order, so that they can be claimed.

    Called for a dead worker by another one, and by a stopping worker for itself. `ran`: how many jobs its last
    heartbeat said that it ran; None: it has stopped in order, and that counts against none of its jobs. `elsewhere`:
    how many jobs the other workers ran that died at the same time.

    Returns: how many jobs it had; None if it has registered again since `entry`.
    """
    job_ids = await queue.owned(worker)
    turns: dict[bool, list[TurnKey]] = {False: [], True: []}  # those that it ran, those whose answer it persisted
    for job_id in job_ids:
        with suppress(BadRequest):  # it is no job of ours
            turns[is_persist_id(job_id)].append(TurnKey.parse(run_id_of(job_id)))
    company = 0 if ran is None else max(ran, len(job_ids))
    await store.free(turns[False], worker, company, elsewhere=elsewhere)
    await store.free(turns[True], worker, company, elsewhere=elsewhere, persists=True)
    return len(job_ids) if await queue.bury(worker, entry, job_ids) else None
