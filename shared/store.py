"""The data Redis: every write to a turn is one of these methods, each one script; reads are plain commands."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from shared import identity
from shared.courier import Courier
from shared.events import Cursor, Entry
from shared.keys import CANCELS, SessionKey, TurnKey
from shared.lifecycle import TurnState
from shared.model import Claimed, Ended, Held, StepRecord, Submitted, TurnRecord, TurnRequest, Waits
from shared.scripts import Arg, Call, Script, answered_within
from shared.settings import Settings

APPEND = Script("append")
CANCEL = Script("cancel")
CHECKPOINT = Script("checkpoint")
CLAIM = Script("claim")
FREE = Script("free")
HANDOVER = Script("handover")
RENEW = Script("renew")
REWIND = Script("rewind")
SETTLE = Script("settle")
SUBMIT = Script("submit")
WITHDRAW = Script("withdraw")

_step = msgspec.json.Decoder(StepRecord)


class TurnStore:
    """Typed access to turns. Methods raise StoreUnavailable when Redis does not answer; all may be repeated."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis: Any = redis  # redis-py's own annotations do not pass a strict checker
        self.settings = settings
        self._timeout_s = settings.redis_timeout_s
        self._courier = Courier(redis, settings.redis_timeout_s)

    async def submit(self, key: TurnKey, request: TurnRequest) -> Submitted:
        """Accept a turn at this index, attach to it, ask it again, or find its answer.

        Raises:
            InputMismatch, LeaseHeld, SessionBusy, TurnLimit, NotFound: nothing was written.
        """
        return await self._submit(key, request, is_next=False, idempotency_key="")

    async def next_index(self, session: SessionKey, idempotency_key: str = "") -> int:
        """The index for `submit_next`: that of this Idempotency-Key if it has one, else the session's next."""
        async with answered_within(self._timeout_s):
            next_index, kept = await self.redis.hmget(session.record, "next_index", f"key:{idempotency_key}")
        return int((kept if idempotency_key else None) or next_index or 0)

    async def submit_next(self, key: TurnKey, request: TurnRequest, idempotency_key: str = "") -> Submitted:
        """Accept a turn at the index that `next_index` gave.

        Raises:
            IndexMoved: somebody else took the index meanwhile; nothing was written.
            InputMismatch, SessionBusy, TurnLimit, NotFound: nothing was written.
        """
        return await self._submit(key, request, is_next=True, idempotency_key=idempotency_key)

    async def is_completed(self, key: TurnKey) -> bool:
        """True if a request of this turn can only be a replay, or a mismatch."""
        async with answered_within(self._timeout_s):
            return bool(await self.redis.hget(key.record, "status") == b"completed")

    async def _submit(self, key: TurnKey, request: TurnRequest, *, is_next: bool, idempotency_key: str) -> Submitted:
        session = key.session
        digest = identity.input_hash(
            key, message=request.message, project=request.project, domain=request.domain, model=request.model
        )
        fields = {"session": session.session, "tenant": session.tenant, **request.fields()}
        verdict, attempt, mark = await SUBMIT(
            self._courier,
            [session.record, session.turns, session.open, key.record, key.events, key.steps],
            [
                key.index,
                int(is_next),
                idempotency_key,
                digest,
                session.tenant,
                request.on_busy,
                self.settings.max_turns_per_session,
                *_flat(fields),
            ],
        )
        return Submitted(verdict.decode(), key, attempt, mark.decode())

    async def withdraw(self, submitted: Submitted, events: Sequence[bytes]) -> bool:
        """Take a submit back that the queue refused; False if somebody else relies on it by now.

        `events` end the log of a turn that had been asked again.
        """
        key = submitted.key
        args = [key.index, submitted.mark, submitted.verdict, self.settings.retention_ms, *events]
        return bool(await WITHDRAW(self._courier, _all_keys(key), args))

    async def claim(self, key: TurnKey, worker: str) -> Claimed | Held | Waits | Ended:
        """Take the lease of a turn and start its next attempt; the claim writes that attempt's first event."""
        settings = self.settings
        args: list[Arg] = [key.index, worker, settings.lease_ms, settings.max_attempts, settings.retention_ms]
        reply = await CLAIM(self._courier, _all_keys(key), args)
        match reply:
            case [b"ok", attempt, next_seq, now_ms, first_event, fields, steps]:
                record = TurnRecord.from_hash(key, _pairs(fields))
                assert record is not None
                done = {int(position): _step.decode(step) for position, step in _pairs(steps).items()}
                return Claimed(key, attempt, f"{worker}#{attempt}", next_seq, now_ms, first_event, record, done)
            case [b"held", ms]:
                return Held(max(ms, 0))
            case [b"wait", index]:
                return Waits(int(index))
            case [b"ended", _, index]:
                return Ended(int(index) if index else None)
            case _:
                return Ended()

    async def append_many(self, appends: Sequence[tuple[TurnKey, int, int, Sequence[bytes]]]) -> list[Exception | None]:
        """Append to many logs in one round trip: (turn, attempt, seq, events) each.

        The ids are `<attempt>-<seq>`, `<attempt>-<seq + 1>`, …; ids that are there already are fine.

        Returns: for each None, AttemptFenced (a newer attempt writes, or the turn was erased) or StoreUnavailable.
        """
        calls: list[Call] = [([key.events], [attempt, seq, *events]) for key, attempt, seq, events in appends]
        replies = await APPEND.many(self._courier, calls)
        return [reply if isinstance(reply, Exception) else None for reply in replies]

    async def checkpoint(self, claimed: Claimed, step: StepRecord) -> None:
        """Store a step's result; also extends the lease.

        Raises:
            AttemptFenced: the lease was lost.
        """
        key, lease_ms = claimed.key, self.settings.lease_ms
        args: list[Arg] = [claimed.attempt, claimed.token, lease_ms, step.index, msgspec.json.encode(step)]
        await CHECKPOINT(self._courier, [key.record, key.lease, key.steps], args)

    async def settle(
        self,
        claimed: Claimed,
        status: TurnState,
        seq: int,
        events: Sequence[bytes],
        fields: Mapping[str, Arg],
    ) -> int | None:
        """End the attempt: terminal events, outcome, lease and TTLs in one write.

        Returns: the index of the session's turn whose time has come, if any.

        Raises:
            AttemptFenced: the lease was lost.
        """
        args: list[Arg] = [
            claimed.key.index,
            claimed.attempt,
            claimed.token,
            self.settings.retention_ms,
            status.value,
            seq,
            len(events),
            *events,
            *_flat(fields),
        ]
        reply = await SETTLE(self._courier, _all_keys(claimed.key), args)
        return int(reply) if reply else None

    async def renew_many(self, attempts: Sequence[Claimed]) -> list[bool | Exception]:
        """Extend leases in one round trip; one that lapsed but that nobody took comes back.

        Returns: for each True (somebody wants it cancelled), False, AttemptFenced (it was lost) or StoreUnavailable.
        """
        calls: list[Call] = [
            ([claimed.key.record, claimed.key.lease], [claimed.attempt, claimed.token, self.settings.lease_ms])
            for claimed in attempts
        ]
        replies = await RENEW.many(self._courier, calls)
        return [reply if isinstance(reply, Exception) else reply == 2 for reply in replies]

    async def cancel(self, key: TurnKey, reason: str = "") -> tuple[str, int | None]:
        """Cancel a turn: at once if nobody runs it, else its worker is told.

        Returns: `ended` (it was terminal already), `cancelled` or `requested`; and the index of the session's turn
        whose time has come, if any.

        Raises:
            NotFound: there is no such turn.
        """
        args: list[Arg] = [key.index, reason, self.settings.retention_ms, CANCELS, key.run_id]
        verdict, index = await CANCEL(self._courier, _all_keys(key), args)
        return verdict.decode(), int(index) if index else None

    async def free(self, keys: Sequence[TurnKey], worker: str) -> None:
        """Drop the leases that a dead worker holds on these turns."""
        calls: list[Call] = [([key.lease], [worker]) for key in keys]
        for reply in await FREE.many(self._courier, calls):
            if isinstance(reply, Exception):
                raise reply

    async def rewind(self, claimed: Claimed, worker: str, after: str) -> Claimed:
        """Delete the events after a cursor and go on as the next attempt; see rewind.lua.

        Raises:
            AttemptFenced: the lease was lost.
        """
        key = claimed.key
        args: list[Arg] = [claimed.attempt, claimed.token, worker, self.settings.lease_ms, after]
        names = [key.record, key.lease, key.steps, key.events]
        attempt, next_seq = await REWIND(self._courier, names, args)
        return msgspec.structs.replace(claimed, attempt=attempt, token=f"{worker}#{attempt}", next_seq=next_seq)

    async def handover(self, claimed: Claimed) -> bool:
        """Give the turn back without spending an attempt; False if it was not ours any more."""
        args: list[Arg] = [claimed.attempt, claimed.token]
        return bool(await HANDOVER(self._courier, [claimed.key.record, claimed.key.lease], args))

    async def record(self, key: TurnKey) -> TurnRecord | None:
        """The turn, or None."""
        async with answered_within(self._timeout_s):
            return TurnRecord.from_hash(key, await self.redis.hgetall(key.record))

    async def records(self, session: SessionKey, *, first: int = 0, limit: int = 100) -> list[TurnRecord]:
        """The turns of a session from index `first`, ascending, at most `limit`, without expired ones."""
        async with answered_within(self._timeout_s):
            indexes = await self.redis.zrangebyscore(session.turns, first, "+inf", start=0, num=limit)
            return await self._records([session.turn(int(index)) for index in indexes])

    async def history(self, key: TurnKey, limit: int) -> list[TurnRecord]:
        """The last `limit` turns before this one, ascending."""
        if key.index == 0 or limit == 0:
            return []
        session = key.session
        async with answered_within(self._timeout_s):
            last = f"({key.index}"
            before = await self.redis.zrevrangebyscore(session.turns, last, "-inf", start=0, num=limit)
            return await self._records([session.turn(int(index)) for index in reversed(before)])

    async def _records(self, keys: Sequence[TurnKey]) -> list[TurnRecord]:
        async with self.redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hgetall(key.record)
            hashes = await pipe.execute()
        found = [TurnRecord.from_hash(key, fields) for key, fields in zip(keys, hashes, strict=True)]
        return [record for record in found if record is not None]

    async def read(self, key: TurnKey, after: Cursor | None, limit: int = 500) -> list[Entry]:
        """Events after a cursor, from the start for None: at most `limit`, oldest first."""
        async with answered_within(self._timeout_s):
            start = "-" if after is None else f"({after}"
            entries = await self.redis.xrange(key.events, start, "+", limit)
        return [Entry(entry_id, fields[b"e"]) for entry_id, fields in entries]

    async def read_all(self, key: TurnKey) -> list[Entry]:
        """The whole log."""
        entries = await self.read(key, None)
        while entries and (page := await self.read(key, Cursor.parse(entries[-1].id.decode()))):
            entries += page
        return entries


def _all_keys(key: TurnKey) -> list[str]:
    session = key.session
    return [
        session.record, session.turns, session.open,
        key.record, key.lease, key.steps, key.events, key.signals,
    ]  # fmt: skip


def _flat(fields: Mapping[str, Arg]) -> list[Arg]:
    return [part for pair in fields.items() for part in pair]


def _pairs(flat: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
