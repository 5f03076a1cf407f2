"""Reads turns for operators, many at a time: where each one is, who runs it, or what it waits for.

No content of a turn is read here. A page of turns costs two round trips to each server, however many turns there are.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from turnwire.shared import keys
from turnwire.shared.keys import TurnKey
from turnwire.shared.lanes import Lane, paused_field
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.queue import IN_LINE_MS, TurnQueue
from turnwire.shared.store.scripts import answered_within
from turnwire.shared.store.turns import TurnStore

Reason = Literal["worker", "earlier_turn", "signal", "paused", "suspect", "unserved", "retry"]

_FIELDS: Final = (
    "status", "attempt", "project", "model", "created_at", "started_at", "updated_at", "completed_at", "worker",
    "awaiting", "error_code", "cost_nanos", "currency", "on_busy", "parent", "ahead", "pool", "priority",
)  # fmt: skip


class Wait(msgspec.Struct, frozen=True):
    """What a turn waits for.

    Attributes:
        reason: `worker`: a free slot of a worker in the lane that `detail` names. `earlier_turn`: the end of the turn
            that `detail` names. `signal`: the signal that `detail` names. `paused`: an operator, who has paused the
            tenant or project that `detail` names. `suspect`: an idle worker, because workers died while they ran it.
            `unserved`: a worker with hooks for the project that `detail` names. `retry`: its job was put off until
            `detail`, in ms.
        since: since when, in ms of Redis time.
    """

    reason: Reason
    detail: str | None
    since: int


class Cost(msgspec.Struct, frozen=True):
    """What a turn cost. `cost_nanos`: in billionths of `currency`."""

    cost_nanos: int
    currency: str | None


class TurnRow(msgspec.Struct, frozen=True, kw_only=True):
    """A turn as operators see it among others. Times are in ms of Redis time.

    Attributes:
        worker: the worker that runs it, or that ran its last attempt.
        lease_ttl_ms: how long the lease of that worker still lasts; None: nobody runs the turn.
        waits_for: None: it runs, or it has ended.
        code: why it failed or was cancelled.
        cost: None while the turn is open, and if its cost is not known.
    """

    run_id: str
    tenant_id: str
    session_id: str
    turn_index: int
    project: str | None
    model: str | None
    status: str
    attempt: int
    created_at: int
    started_at: int | None
    ended_at: int | None
    worker: str | None
    lease_ttl_ms: int | None
    waits_for: Wait | None
    code: str | None
    cost: Cost | None


class _Found(msgspec.Struct):
    """What the server of the turns knows of one."""

    key: TurnKey
    fields: dict[str, str]
    lease_ttl_ms: int | None
    ahead: int | None  # the index of the turn that must end first

    @property
    def status(self) -> str:
        return self.fields["status"]

    def number(self, name: str) -> int | None:
        text = self.fields.get(name, "")
        return int(text) if text.isascii() and text.isdigit() else None


class _Queued(msgspec.Struct):
    """What the server of the queue knows of a turn's job."""

    score: float | None
    is_suspect: bool
    unserved: tuple[int, str] | None  # since when, and the project
    paused: dict[str, int]  # what is paused, and since when: see lanes.paused_field


class TurnRows:
    """Reads turns. Methods raise StoreUnavailable when one of the servers does not answer."""

    def __init__(self, store: TurnStore, queue: TurnQueue) -> None:
        self._store = store
        self._queue = queue
        self._timeout_s = store.settings.redis_timeout_s

    async def read(self, turns: Sequence[TurnKey]) -> tuple[int, list[TurnRow | None]]:
        """Return the Redis time in ms, and a row for each turn; None for one that does not exist any more."""
        now_ms, found = await self._from_store(turns)
        waiting = [each.key.run_id for each in found if each is not None and each.status == TurnState.QUEUED]
        queued = await self._from_queue(waiting) if waiting else {}
        return now_ms, [None if each is None else _row(each, queued.get(each.key.run_id), now_ms) for each in found]

    async def _from_store(self, turns: Sequence[TurnKey]) -> tuple[int, list[_Found | None]]:
        async with answered_within(self._timeout_s), self._store.redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for key in turns:
                pipe.hmget(key.record, *_FIELDS).pttl(key.lease)
            (seconds, micros), *replies = await pipe.execute()
        found = [
            _found(key, values, ttl_ms) for key, values, ttl_ms in zip(turns, replies[::2], replies[1::2], strict=True)
        ]
        await self._find_ahead([each for each in found if each is not None and each.status == TurnState.QUEUED])
        return seconds * 1000 + micros // 1000, found

    async def _find_ahead(self, queued: Sequence[_Found]) -> None:
        """Note which of these turns wait for an earlier turn of their session; see `SessionReads.waits_for`."""
        if not queued:
            return
        async with answered_within(self._timeout_s), self._store.redis.pipeline(transaction=False) as pipe:
            for each in queued:
                pipe.zrange(each.key.session.open, 0, 0)
                pipe.zscore(each.key.session.open, each.fields.get("ahead", ""))
            replies = await pipe.execute()
        for each, first, is_open in zip(queued, replies[::2], replies[1::2], strict=True):
            index = each.number("ahead") if is_open is not None else None
            if "parent" not in each.fields:
                index = int(first[0]) if first else None
            if index is not None and index < each.key.index and each.fields.get("on_busy") != "concurrent":
                each.ahead = index

    async def _from_queue(self, run_ids: Sequence[str]) -> dict[str, _Queued]:
        async with answered_within(self._timeout_s), self._queue.redis.pipeline(transaction=False) as pipe:
            pipe.zmscore(keys.QUEUE, run_ids).zmscore(keys.SUSPECTS, run_ids)
            pipe.zmscore(keys.UNSERVED, run_ids).hmget(keys.UNSERVED_SINCE, run_ids).hgetall(keys.PAUSED).time()
            scores, suspects, unserved, since, fields, (seconds, _) = await pipe.execute()
        paused = {field.decode(errors="replace"): int(value) for field, value in fields.items() if value.isdigit()}
        found: dict[str, _Queued] = {}
        for run_id, score, suspect, until, note in zip(run_ids, scores, suspects, unserved, since, strict=True):
            noted = _noted(note) if until and until > seconds * 1000 else None
            found[run_id] = _Queued(score, suspect is not None, noted, paused)
        return found


def _found(key: TurnKey, values: Sequence[bytes | None], ttl_ms: int) -> _Found | None:
    fields = {
        name: value.decode(errors="replace")
        for name, value in zip(_FIELDS, values, strict=True)
        if value is not None
    }  # fmt: skip
    return _Found(key, fields, ttl_ms if ttl_ms >= 0 else None, None) if "status" in fields else None


def _noted(note: bytes | None) -> tuple[int, str] | None:
    since_ms, _, project = (note or b"").decode(errors="replace").partition(" ")
    return (int(since_ms), project) if since_ms.isdigit() else None


def _row(found: _Found, queued: _Queued | None, now_ms: int) -> TurnRow:
    fields, nanos = found.fields, found.number("cost_nanos")
    return TurnRow(
        run_id=found.key.run_id,
        tenant_id=found.key.session.tenant,
        session_id=found.key.session.session,
        turn_index=found.key.index,
        project=fields.get("project"),
        model=fields.get("model"),
        status=found.status,
        attempt=found.number("attempt") or 0,
        created_at=found.number("created_at") or 0,
        started_at=found.number("started_at"),
        ended_at=found.number("completed_at"),
        worker=fields.get("worker") or None,
        lease_ttl_ms=found.lease_ttl_ms,
        waits_for=_wait(found, queued, now_ms),
        code=fields.get("error_code"),
        cost=None if nanos is None else Cost(nanos, fields.get("currency")),
    )


def _wait(found: _Found, queued: _Queued | None, now_ms: int) -> Wait | None:
    updated_at = found.number("updated_at") or 0
    match found.status:
        case TurnState.SUSPENDED:
            return Wait("signal", found.fields.get("awaiting"), updated_at)
        case TurnState.RUNNING if found.lease_ttl_ms is None:
            return Wait("worker", "the lease of its worker has ended", updated_at)
        case TurnState.QUEUED:
            return _wait_in_queue(found, queued, updated_at, now_ms)
    return None


def _wait_in_queue(found: _Found, queued: _Queued | None, updated_at: int, now_ms: int) -> Wait:
    lane = Lane.read(found.fields.get("pool", "").encode(), found.fields.get("priority", "").encode()).name
    if found.ahead is not None:
        return Wait("earlier_turn", found.key.session.turn(found.ahead).run_id, updated_at)
    for kind, name in (("tenant", found.key.session.tenant), ("project", found.fields.get("project"))):
        if queued is not None and (field := paused_field(kind, name or "")) in queued.paused:
            return Wait("paused", f"{kind} {name}", max(updated_at, queued.paused[field]))
    if queued is None or queued.score is None:
        return Wait("worker", "it has no job; the sweep makes one", updated_at)
    if queued.unserved is not None:
        return Wait("unserved", queued.unserved[1] or None, queued.unserved[0])
    if queued.is_suspect:
        return Wait("suspect", None, updated_at)
    if queued.score > now_ms and queued.score.is_integer():  # the score of a claimed job has a fraction
        return Wait("retry", str(int(queued.score)), updated_at)
    return Wait("worker", lane, int(queued.score + IN_LINE_MS) if queued.score < 0 else updated_at)
