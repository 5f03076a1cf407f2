"""The data Redis: every write to a turn is one of these methods, each one script; reads are plain commands."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared import identity
from shared.keys import CANCELS, SessionKey, TurnKey
from shared.ledger import UNKNOWN_USE
from shared.lifecycle import TurnState
from shared.model import Claimed, Ended, Held, Signal, StepRecord, Submitted, Suspended, TurnRecord, TurnRequest, Waits
from shared.reads import TurnReads
from shared.scripts import Arg, Call, Script, answered_within

APPEND = Script("append")
CANCEL = Script("cancel")
CHECKPOINT = Script("checkpoint")
CLAIM = Script("claim")
ERASE = Script("erase")
EXPIRE = Script("expire")
FREE = Script("free")
HANDOVER = Script("handover")
PERSISTED = Script("persisted")
RENEW = Script("renew")
REWIND = Script("rewind")
SETTLE = Script("settle")
SIGNAL = Script("signal")
SUBMIT = Script("submit")
SUSPEND = Script("suspend")
WITHDRAW = Script("withdraw")

ERASE_TURNS = 200  # in one call: Redis serves others in between

_step = msgspec.json.Decoder(StepRecord)
_signal = msgspec.json.Decoder(Signal)


class TurnStore(TurnReads):
    """Typed access to turns. Methods raise StoreUnavailable when Redis does not answer; all may be repeated."""

    async def submit(self, key: TurnKey, request: TurnRequest) -> Submitted:
        """Accept a turn at this index, attach to it, ask it again, or find its answer.

        Raises:
            InputMismatch, LeaseHeld, SessionBusy, TurnLimit, NotFound: nothing was written.
        """
        return await self._submit(key, request, is_next=False, idempotency_key="")

    async def submit_next(self, key: TurnKey, request: TurnRequest, idempotency_key: str = "") -> Submitted:
        """Accept a turn at the index that `next_index` gave.

        Raises:
            IndexMoved: somebody else took the index meanwhile; nothing was written.
            InputMismatch, SessionBusy, TurnLimit, NotFound: nothing was written.
        """
        return await self._submit(key, request, is_next=True, idempotency_key=idempotency_key)

    async def _submit(self, key: TurnKey, request: TurnRequest, *, is_next: bool, idempotency_key: str) -> Submitted:
        session = key.session
        digest = identity.input_hash(
            key, message=request.message, project=request.project, domain=request.domain, model=request.model
        )
        fields = {"run_id": key.run_id, "session": session.session, "tenant": session.tenant, **request.fields()}
        verdict, attempt, mark = await SUBMIT(
            self._courier,
            key.lasting_keys(),
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
        return bool(await WITHDRAW(self._courier, key.all_keys(), args))

    async def claim(self, key: TurnKey, worker: str) -> Claimed | Held | Waits | Suspended | Ended:
        """Take the lease of a turn and start its next attempt; the claim writes that attempt's first event."""
        settings = self.settings
        args: list[Arg] = [key.index, worker, settings.lease_ms, settings.max_attempts, settings.retention_ms]
        reply = await CLAIM(self._courier, key.all_keys(), args)
        match reply:
            case [b"ok", attempt, next_seq, now_ms, first_event, fields, steps, rows, cut]:
                record = TurnRecord.from_hash(key, _pairs(fields))
                assert record is not None
                done = {int(position): _step.decode(step) for position, step in _pairs(steps).items()}
                token = f"{worker}#{attempt}"
                return Claimed(key, attempt, token, next_seq, now_ms, first_event, record, done, _rows(rows), cut)
            case [b"held", ms]:
                return Held(max(ms, 0))
            case [b"wait", index, on_busy]:
                return Waits(int(index), on_busy == b"interrupt")
            case [b"suspended", rows]:
                return Suspended(_rows(rows))
            case [b"ended", _, index, rows]:
                return Ended(int(index) if index else None, _rows(rows))
            case _:
                return Ended()

    async def append_many(self, appends: Sequence[tuple[Claimed, int, Sequence[bytes]]]) -> list[Exception | None]:
        """Append to many logs in one round trip: (attempt, seq, events) each.

        The ids are `<attempt>-<seq>`, `<attempt>-<seq + 1>`, …; ids that are there already are fine.

        Returns: for each None, AttemptFenced (the turn is not this attempt's any more) or StoreUnavailable.
        """
        calls: list[Call] = [
            (
                [claimed.key.record, claimed.key.lease, claimed.key.events],
                [claimed.attempt, claimed.token, seq, *events],
            )
            for claimed, seq, events in appends
        ]
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
        used: bytes = UNKNOWN_USE,
    ) -> tuple[int | None, bytes]:
        """End the attempt: terminal events, outcome, ledger row, lease and TTLs in one write.

        Returns: the index of the session's turn whose time has come, if any; the row.

        Raises:
            AttemptFenced: the lease was lost.
        """
        args: list[Arg] = [
            claimed.key.index,
            claimed.attempt,
            claimed.token,
            self.settings.retention_ms,
            status.value,
            fields.get("error_code", ""),
            used,
            seq,
            len(events),
            *events,
            *_flat(fields),
        ]
        index, row = await SETTLE(self._courier, claimed.key.all_keys(), args)
        return int(index) if index else None, row

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

    async def suspend(
        self, claimed: Claimed, signal: str, timeout_ms: int | None, seq: int, event: bytes, used: bytes = UNKNOWN_USE
    ) -> Signal | bytes:
        """Give the turn up until a signal comes, and return the attempt's ledger row; or the signal, if it is there.

        Raises:
            AttemptFenced: the lease was lost.
        """
        key = claimed.key
        timeout = "" if timeout_ms is None else timeout_ms
        args: list[Arg] = [claimed.attempt, claimed.token, self.settings.lease_ms, signal, timeout, used, seq, event]
        names = [key.session.record, key.record, key.lease, key.events, key.signals, key.ledger]
        stored, *row = await SUSPEND(self._courier, names, args)
        return bytes(row[0]) if row else _signal.decode(stored)

    async def signal(self, key: TurnKey, signal: str, payload: bytes) -> tuple[bool, bytes, bool]:
        """Store a signal; the first one of its key wins. `payload` is JSON.

        Returns: whether it is the first, the stored one as JSON, whether the turn has to be enqueued.

        Raises:
            NotFound, TurnEnded: nothing was written.
        """
        first, stored, enqueue = await SIGNAL(self._courier, [key.record, key.signals], [signal, payload])
        return bool(first), stored, bool(enqueue)

    async def expire(self, key: TurnKey) -> int | None:
        """Wake a suspended turn whose time is up.

        Returns: 0 if it is queued now, ms until its time is up, None if nothing has to be done.
        """
        left_ms = int(await EXPIRE(self._courier, [key.record, key.signals], []))
        return left_ms if left_ms >= 0 else None

    async def persisted(self, key: TurnKey, final_text: str | None) -> int:
        """Mark an answer as stored by the product; None: count a try that failed.

        Returns: how often it was tried after its turn had ended, -1 if nothing was pending.
        """
        args: list[Arg] = [int(final_text is not None), final_text or "", self.settings.retention_ms]
        return int(await PERSISTED(self._courier, key.lasting_keys(), args))

    async def cancel(self, key: TurnKey, reason: str = "") -> tuple[str, int | None]:
        """Cancel a turn: at once if nobody runs it, else its worker is told.

        Returns: `ended` (it was terminal already), `cancelled` or `requested`; and the index of the session's turn
        whose time has come, if any.

        Raises:
            NotFound: there is no such turn.
        """
        args: list[Arg] = [key.index, reason, self.settings.retention_ms, CANCELS, key.run_id]
        verdict, index = await CANCEL(self._courier, key.all_keys(), args)
        return verdict.decode(), int(index) if index else None

    async def erase(self, session: SessionKey) -> bool:
        """Delete everything of a session, a page of turns at a time; False if there is none. May be repeated."""
        async with answered_within(self._timeout_s):
            found = await self.redis.exists(session.record, session.turns)
        left = 1 if found else 0
        while left:
            async with answered_within(self._timeout_s):
                indexes = await self.redis.zrange(session.turns, 0, ERASE_TURNS - 1)
            turns = [session.turn(int(index)) for index in indexes]
            names = [session.record, session.turns, session.open]
            names += [name for turn in turns for name in turn.all_keys()[3:]]
            args: list[Arg] = [CANCELS, len(turns), *(turn.index for turn in turns), *(turn.run_id for turn in turns)]
            left = int(await ERASE(self._courier, names, args))
        return bool(found)

    async def free(self, keys: Sequence[TurnKey], worker: str) -> None:
        """Drop the leases that a dead worker holds on these turns."""
        calls: list[Call] = [([key.lease], [worker]) for key in keys]
        for reply in await FREE.many(self._courier, calls):
            if isinstance(reply, Exception):
                raise reply

    async def rewind(
        self, claimed: Claimed, worker: str, after: str, used: bytes = UNKNOWN_USE
    ) -> tuple[Claimed, bytes]:
        """Delete the events after a cursor and go on as the next attempt; see rewind.lua.

        Returns: the new attempt, and the old one's ledger row.

        Raises:
            AttemptFenced: the lease was lost.
        """
        key = claimed.key
        args: list[Arg] = [claimed.attempt, claimed.token, worker, self.settings.lease_ms, after, used]
        names = [key.session.record, key.record, key.lease, key.events, key.ledger]
        attempt, next_seq, row = await REWIND(self._courier, names, args)
        token = f"{worker}#{attempt}"
        return msgspec.structs.replace(claimed, attempt=attempt, token=token, next_seq=next_seq), row

    async def handover(self, claimed: Claimed, used: bytes = UNKNOWN_USE) -> bytes:
        """Give the turn back without spending an attempt.

        Returns: the attempt's ledger row; empty if it was not ours any more.
        """
        key = claimed.key
        args: list[Arg] = [claimed.attempt, claimed.token, used]
        return bytes(await HANDOVER(self._courier, [key.session.record, key.record, key.lease, key.ledger], args))


def _flat(fields: Mapping[str, Arg]) -> list[Arg]:
    return [part for pair in fields.items() for part in pair]


def _rows(flat: Sequence[bytes]) -> dict[int, bytes]:
    return {int(attempt): row for attempt, row in _pairs(flat).items()}


def _pairs(flat: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
