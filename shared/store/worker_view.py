"""What operators see of the workers: who lives, what each one runs, and how long its leases still last."""

from collections.abc import Sequence
from typing import Final

import msgspec
from redis.exceptions import NoPermissionError, ResponseError

from turnwire.shared import channels
from turnwire.shared.keys import TurnKey
from turnwire.shared.store.listing import Listing
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.scripts import answered_within
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.worker_entry import WorkerEntry, read_entry

MOST_TURNS: Final = 1000  # so many turns of all workers together are shown
MOST_OF_WORKER: Final = 100  # so many of one worker
SILENT_LEASES: Final = 3  # a worker whose last heartbeat is so many leases old does not count as alive


class RunningTurn(msgspec.Struct, frozen=True, kw_only=True):
    """A turn that a worker runs. `lease_ttl_ms`: how long the worker's lease still lasts."""

    run_id: str
    tenant_id: str
    session_id: str
    turn_index: int
    project: str | None
    attempt: int
    lease_ttl_ms: int


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """A worker. Times are in ms by the clock of its host.

    Attributes:
        seen_at: when it sent its last heartbeat.
        is_alive: whether its process holds its connection to Redis, and its heartbeats come.
        is_draining: whether it takes no more turns, or has been asked so.
        slots: how many turns it runs at most. `reserved` of them are for tenants that run nothing there.
        running: how many jobs it ran at its last heartbeat.
        events: how many events it had written to logs then; null: its version does not tell.
        projects: those that it has hooks for; null: it has hooks for every turn.
        turns: those that it runs now, at most 100 of one worker, and 1,000 of all together.
    """

    id: str
    host: str
    pid: int
    version: str
    started_at: int
    seen_at: int
    is_alive: bool
    is_draining: bool
    slots: int
    reserved: int
    running: int
    events: int | None
    projects: list[str] | None
    pools: list[str]
    turns: list[RunningTurn]


class WorkersView(msgspec.Struct, frozen=True):
    """The workers by id. `now`: Redis time, ms. `lease_ms`: how long a lease lasts as a whole."""

    now: int
    lease_ms: int
    workers: list[WorkerView]


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right of a worker to write to a turn. `since`: when its attempt began, in ms of Redis time."""

    run_id: str
    tenant_id: str
    session_id: str
    turn_index: int
    project: str | None
    worker: str
    attempt: int
    lease_ttl_ms: int
    status: str
    since: int


class Workers:
    """Reads the workers. Methods raise StoreUnavailable when one of the servers does not answer."""

    def __init__(self, store: TurnStore, queue: TurnQueue) -> None:
        self._store = store
        self._queue = queue
        self._listing = Listing(queue)
        self._settings = store.settings

    async def view(self) -> WorkersView:
        """Return all workers."""
        raw = await self._queue.workers()
        entries = {name: entry for name in sorted(raw) if (entry := read_entry(raw[name])) is not None}
        now_ms, connected = await self._connected(list(entries))
        claimed = await self._listing.claimed(list(entries))
        chosen = [run_id for run_ids in claimed.values() for run_id in run_ids[:MOST_OF_WORKER]]
        by_worker: dict[str, list[RunningTurn]] = {}
        for lease in await self.leases(chosen[:MOST_TURNS]):
            by_worker.setdefault(lease.worker, []).append(_running(lease))
        asked = await self._listing.asked_to_drain(list(entries))
        found = [
            self._worker(name, entry, now_ms, connected, asked=name in asked, turns=by_worker.get(name, []))
            for name, entry in entries.items()
        ]
        return WorkersView(now_ms, self._settings.lease_ms, found)

    def _worker(
        self, name: str, entry: WorkerEntry, now_ms: int, connected: set[str] | None, *,
        asked: bool, turns: list[RunningTurn],
    ) -> WorkerView:  # fmt: skip
        is_heard = now_ms - entry.at < SILENT_LEASES * self._settings.lease_ms
        return WorkerView(
            id=name,
            host=entry.host,
            pid=entry.pid,
            version=entry.version,
            started_at=entry.started_at,
            seen_at=entry.at,
            is_alive=is_heard and (connected is None or name in connected),
            is_draining=entry.is_draining or asked,
            slots=entry.capacity,
            reserved=entry.reserved,
            running=entry.running,
            events=entry.events,
            projects=entry.projects,
            pools=entry.pools,
            turns=turns,
        )

    async def _connected(self, workers: Sequence[str]) -> tuple[int, set[str] | None]:
        """Return the Redis time in ms, and the workers whose processes hold a connection; None: that is not known."""
        redis, deployment = self._queue.redis, self._settings.deployment_name
        async with answered_within(self._queue.timeout_s):
            seconds, micros = await redis.time()
            try:
                names = [channels.alive_channel(deployment, worker) for worker in workers]
                counted = await redis.pubsub_numsub(*names) if names else []
            except (NoPermissionError, ResponseError):
                counted = None
        connected = None
        if counted is not None:
            connected = {worker for worker, (_, count) in zip(workers, counted, strict=True) if count}
        return seconds * 1000 + micros // 1000, connected

    async def leases(self, run_ids: Sequence[str]) -> list[Lease]:
        """Return the leases of these turns, without those that have none."""
        turns = [TurnKey.parse(run_id) for run_id in run_ids]
        async with answered_within(self._settings.redis_timeout_s):
            pipe = self._store.redis.pipeline(transaction=False)
            for turn in turns:
                pipe.hmget(turn.record, "status", "project", "attempt_at").get(turn.lease).pttl(turn.lease)
            replies = await pipe.execute() if turns else []
        of_each = zip(turns, replies[::3], replies[1::3], replies[2::3], strict=True)
        leases = (_lease(turn, fields, token, ttl_ms) for turn, fields, token, ttl_ms in of_each)
        return [lease for lease in leases if lease is not None]


def _lease(turn: TurnKey, fields: Sequence[bytes | None], token: bytes | None, ttl_ms: int) -> Lease | None:
    status, project, since = (None if value is None else value.decode(errors="replace") for value in fields)
    worker, _, attempt = (token or b"").decode(errors="replace").rpartition("#")
    if status is None or not attempt.isdigit() or ttl_ms < 0:
        return None
    return Lease(
        run_id=turn.run_id,
        tenant_id=turn.session.tenant,
        session_id=turn.session.session,
        turn_index=turn.index,
        project=project,
        worker=worker,
        attempt=int(attempt),
        lease_ttl_ms=ttl_ms,
        status=status,
        since=int(since) if since and since.isdigit() else 0,
    )


def _running(lease: Lease) -> RunningTurn:
    return RunningTurn(
        run_id=lease.run_id,
        tenant_id=lease.tenant_id,
        session_id=lease.session_id,
        turn_index=lease.turn_index,
        project=lease.project,
        attempt=lease.attempt,
        lease_ttl_ms=lease.lease_ttl_ms,
    )
