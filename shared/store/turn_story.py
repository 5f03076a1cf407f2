"""Reads everything that is stored of one turn beside its content: its steps, attempts, signals, log and job."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import NoPermissionError, ResponseError

from turnwire.shared import keys
from turnwire.shared.errors import NotFound
from turnwire.shared.events import Cursor
from turnwire.shared.keys import TurnKey
from turnwire.shared.ledger import LedgerRow
from turnwire.shared.model import Signal, StepRecord, TurnRecord, readable
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.reads import position_of
from turnwire.shared.store.scripts import answered_within
from turnwire.shared.store.turn_rows import TurnRow, TurnRows
from turnwire.shared.store.turns import TurnStore

MOST_SHOWN: Final = 1000  # so many steps, and so many signals
MOST_BYTES: Final = 33_554_432  # of all of them together: their results and payloads are read, but not shown
TOGETHER_BYTES: Final = 4_194_304  # in one round trip
HISTORY: Final = b"history"  # among the steps, this is none


class StepSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A step. `position`: as in its record. `attempt`: in which it ended. `attempts`: how often it was tried.

    `bytes`: the size of its record as it is stored. Times are in ms of Redis time.
    """

    position: int | str
    name: str
    kind: str
    status: str
    attempt: int | None
    attempts: int
    started_at: int
    ended_at: int
    bytes: int


class SignalSummary(msgspec.Struct, frozen=True):
    """A signal. `at`: when it came, in ms of Redis time. `bytes`: its size as it is stored.

    `timed_out`: none came, and the turn stopped waiting for it.
    """

    key: str
    at: int
    bytes: int
    timed_out: bool


class LogSummary(msgspec.Struct, frozen=True):
    """The events of a turn. `first`, `last`: cursors. `bytes`: what they take in Redis; null if Redis does not tell."""

    events: int
    bytes: int | None
    first: str | None
    last: str | None


class JobSummary(msgspec.Struct, frozen=True):
    """The job of an open turn. `is_queued`: it waits. `due_at`: it was put off until then, in ms of Redis time.

    `runs`: a worker has claimed it, whose id is `worker`.
    """

    is_queued: bool
    due_at: int | None
    runs: bool
    worker: str | None


class LeaseSummary(msgspec.Struct, frozen=True):
    """Who runs the turn, and how long the lease still lasts."""

    worker: str
    attempt: int
    lease_ttl_ms: int


class CallbackSummary(msgspec.Struct, frozen=True):
    """The callback that the client asked for. `pending_since`: it was not made yet; in ms of Redis time."""

    url: str
    pending_since: int | None


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All of a turn. `step_count`, `signal_count`: how many there are; at most 1,000 of each are shown."""

    now: int
    turn: TurnRow
    record: TurnRecord
    lease: LeaseSummary | None
    job: JobSummary | None
    step_count: int
    steps: list[StepSummary]
    attempts: list[LedgerRow]
    signal_count: int
    signals: list[SignalSummary]
    log: LogSummary
    callback: CallbackSummary | None


class _Queued(msgspec.Struct):
    score: float | None
    holder: str | None
    callback_since: float | None


class TurnStories:
    """Reads the stories of turns. Methods raise StoreUnavailable when one of the servers does not answer."""

    def __init__(self, store: TurnStore, queue: TurnQueue) -> None:
        self._store = store
        self._queue = queue
        self._rows = TurnRows(store, queue)
        self._timeout_s = store.settings.redis_timeout_s

    async def read(self, key: TurnKey) -> Story:
        """Return the story of a turn.

        Raises:
            NotFound: there is no such turn.
            RecordUnreadable: another version wrote it, or its content cannot be decrypted.
        """
        record = await self._store.existing(key)
        now_ms, [row] = await self._rows.read([key])
        if row is None:
            raise NotFound("no such turn")
        step_count, steps = await self._hash(key.steps, HISTORY)
        signal_count, signals = await self._hash(key.signals)
        queued = await self._queued(key)
        callback = None
        if record.callback is not None:
            since = None if queued.callback_since is None else int(queued.callback_since) // 1000
            callback = CallbackSummary(record.callback, since)
        with readable(f"the steps and signals of turn {key.run_id}"):
            shown_steps = sorted((_step(name, raw) for name, raw in steps), key=lambda step: (step.ended_at, step.name))
            shown_signals = [_signal(name, raw) for name, raw in signals]
        return Story(
            now=now_ms,
            turn=row,
            record=record,
            lease=_lease(row),
            job=_job(queued, now_ms),
            step_count=step_count,
            steps=shown_steps,
            attempts=await self._store.ledger(key),
            signal_count=signal_count,
            signals=shown_signals,
            log=await self._log(key),
            callback=callback,
        )

    async def _queued(self, key: TurnKey) -> _Queued:
        async with answered_within(self._timeout_s), self._queue.redis.pipeline(transaction=False) as pipe:
            pipe.zscore(keys.QUEUE, key.run_id).get(keys.in_progress(key.run_id))
            pipe.zscore(keys.CALLBACKS, keys.CALLBACK_PREFIX + key.run_id)
            score, holder, since = await pipe.execute()
        return _Queued(score, None if holder is None else holder.decode(errors="replace"), since)

    async def _hash(self, name: str, but_not: bytes = b"") -> tuple[int, list[tuple[bytes, bytes]]]:
        """Return how many fields a hash has, and the first ones, read a few at a time."""
        redis = self._store.redis
        async with answered_within(self._timeout_s):
            fields = sorted((field for field in await redis.hkeys(name) if field != but_not), key=_order)
            shown = fields[:MOST_SHOWN]
            pipe = redis.pipeline(transaction=False)
            for field in shown:
                pipe.hstrlen(name, field)
            sizes = await pipe.execute() if shown else []
        found: list[tuple[bytes, bytes]] = []
        for part in _parts(shown, sizes):
            async with answered_within(self._timeout_s):
                for field in part:
                    pipe.hget(name, field)
                values = await pipe.execute()
            found += [(field, value) for field, value in zip(part, values, strict=True) if value is not None]
        return len(fields), found

    async def _log(self, key: TurnKey) -> LogSummary:
        redis = self._store.redis
        async with answered_within(self._timeout_s):
            pipe = redis.pipeline(transaction=False)
            pipe.xlen(key.events).xrange(key.events, "-", "+", 1).xrevrange(key.events, "+", "-", 1)
            count, first, last = await pipe.execute()
            try:
                size = await redis.memory_usage(key.events)
            except (NoPermissionError, ResponseError):
                size = None
        return LogSummary(count, size, _id(first), _id(last))


def _parts(fields: Sequence[bytes], sizes: Sequence[int]) -> list[list[bytes]]:
    """Divide fields into parts of a limited size; leave out those that follow when all of them are too large."""
    parts: list[list[bytes]] = [[]]
    room, left = TOGETHER_BYTES, MOST_BYTES
    for field, size in zip(fields, sizes, strict=True):
        left -= size
        if left < 0:
            break
        if size > room:
            parts.append([])
            room = TOGETHER_BYTES
        parts[-1].append(field)
        room -= size
    return [part for part in parts if part]


def _order(field: bytes) -> tuple[int, bytes]:
    return (int(field), b"") if field.isdigit() else (2**63, field)


def _id(entries: Sequence[Any]) -> str | None:
    return entries[0][0].decode() if entries else None


def _step(field: bytes, raw: bytes) -> StepSummary:
    step = msgspec.json.decode(raw, type=StepRecord)
    return StepSummary(
        position=position_of(field),
        name=step.intent,
        kind=step.kind,
        status=step.status,
        attempt=Cursor.parse(step.cursor).attempt if step.cursor else None,
        attempts=step.attempts,
        started_at=step.started_at,
        ended_at=step.completed_at,
        bytes=len(raw),
    )


def _signal(field: bytes, raw: bytes) -> SignalSummary:
    signal = msgspec.json.decode(raw, type=Signal)
    return SignalSummary(field.decode(errors="replace"), signal.emitted_at, len(raw), signal.timed_out)


def _lease(row: TurnRow) -> LeaseSummary | None:
    if row.worker is None or row.lease_ttl_ms is None:
        return None
    return LeaseSummary(row.worker, row.attempt, row.lease_ttl_ms)


def _job(queued: _Queued, now_ms: int) -> JobSummary | None:
    if queued.score is None:
        return None
    runs = queued.holder is not None
    is_put_off = not runs and queued.score > now_ms
    return JobSummary(not runs, int(queued.score) if is_put_off else None, runs, queued.holder)
