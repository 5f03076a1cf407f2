"""The worker's writes to a turn. Each method runs one script, which the attempt and its lease fence."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Literal, TypeAlias

import msgspec

from turnwire.shared.errors import RecordUnreadable
from turnwire.shared.keys import SUSPENDED_INDEX, TurnKey
from turnwire.shared.ledger import encode_progress
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import (
    Claimed,
    Ended,
    Held,
    Paused,
    Signal,
    StepRecord,
    Suspended,
    TurnRecord,
    Unserved,
    Waits,
    readable,
)
from turnwire.shared.replies import GivenUp, Rewound, Settled, Suspect
from turnwire.shared.store.connection import LINEAGE
from turnwire.shared.store.granted import in_pairs, indexes_of, ledger_rows, not_started, paused_args, read_claimed
from turnwire.shared.store.reads import TurnReads
from turnwire.shared.store.scripts import Arg, Call, Script

Claim: TypeAlias = Claimed | Held | Waits | Paused | Suspended | Unserved | Suspect | Ended  # the results of a claim

APPEND = Script("append")
CHECKPOINT = Script("checkpoint")
CLAIM = Script("claim", lineage=True)
FREE = Script("free")
HANDOVER = Script("handover")
MINGLE = Script("mingle")
RENEW = Script("renew")
REWIND = Script("rewind")
SETTLE = Script("settle")
SUSPEND = Script("suspend")

# A suspect that no idle worker has taken for this time may run beside any jobs. The Lua constants that belong to it:
# UNKNOWN_COMPANY in lua/parts/suspicion.lua and PATIENCE_MS in lua/parts/isolation.lua.
ASIDE_MS = 300_000
GiveBackReason: TypeAlias = Literal["handover", "store_lost"]

_signal = msgspec.json.Decoder(Signal)


class AttemptWrites(TurnReads):
    """The writes of attempts. A method raises StoreUnavailable if Redis does not answer, and may then be repeated."""

    async def claim(
        self,
        key: TurnKey,
        worker: str,
        projects: Sequence[str] | None = None,
        *,
        company: int = 0,
        keeps_tail: bool = False,
        paused: Collection[str] = (),
    ) -> Claim:
        """Take the lease of a turn and start its next attempt; the claim writes that attempt's first event.

        `projects`: those that the worker has hooks for; None: it has hooks for every turn. `company`: how many jobs the
        worker runs at most, all of them suspects; 0: it runs any jobs. `keeps_tail`: the events after the last
        checkpoint stay in the log, because the attempt goes on with them. `paused`: the fields of what is paused, see
        `lanes.paused_field`.

        Raises:
            RecordUnreadable: another version wrote the turn. No attempt is spent.
        """
        settings = self.settings
        retention_ms = self._retention.ms(key.session.tenant)
        limits: list[Arg] = [settings.lease_ms, settings.max_attempts, retention_ms, ASIDE_MS]
        about: list[Arg] = [company, LINEAGE, int(keeps_tail), *paused_args(key, paused), self._end_prefix]
        args: list[Arg] = [self._channel_prefix, key.index, worker, *limits, *about, *(projects or [])]
        reply = await CLAIM(self._courier, [*key.all_keys(), *SUSPENDED_INDEX], args)
        match reply:
            case [b"ok", attempt, *granted]:
                try:
                    with readable(f"turn {key.run_id}"):
                        return read_claimed(key, attempt, worker, self._opened_grant(key, granted))
                except RecordUnreadable:
                    await self._give_back(key, attempt, worker)
                    raise
            case [b"unreadable"]:
                raise RecordUnreadable(f"turn {key.run_id} cannot be read by this version")
            case [b"held", ms]:
                return Held(max(ms, 0))
            case [b"wait", index, on_busy]:
                return Waits(int(index), on_busy == b"interrupt")
            case [b"suspended", rows]:
                return Suspended(ledger_rows(rows))
            case [b"paused" | b"unserved" | b"suspect", *_]:
                return not_started(key, reply)
            case [b"ended", _, woken, rows, fields, events]:
                await self._tell_claimed_end(key, events)
                with suppress(RecordUnreadable):
                    record = TurnRecord.from_hash(key, self._opened(key, in_pairs(fields)))
                    shown = self._opened_events(key, events)
                    return Ended(indexes_of(woken), ledger_rows(rows), record, shown)
                return Ended(indexes_of(woken), ledger_rows(rows))
            case _:
                return Ended()

    async def _give_back(self, key: TurnKey, attempt: int, worker: str) -> None:
        names = [key.session.record, key.record, key.lease, key.ledger]
        told: list[Arg] = [key.index, self._followers(key.session)]
        await HANDOVER(self._courier, names, [attempt, f"{worker}#{attempt}", b"", "handover", *told])

    async def append_many(self, appends: Sequence[tuple[Claimed, int, Sequence[bytes]]]) -> list[Exception | None]:
        """Append to many logs in one round trip. Each of `appends` is (attempt, seq, events).

        The ids are `<attempt>-<seq>`, `<attempt>-<seq + 1>`, …. Events whose ids are in the log already count as
        appended.

        Returns: for each None, AttemptFenced (the turn is not this attempt's any more), LogBehind (the store has lost
            events that it had acknowledged) or StoreUnavailable.
        """
        calls: list[Call] = [
            (
                [claimed.key.record, claimed.key.lease, claimed.key.events],
                [self._channel_prefix, claimed.attempt, claimed.token, seq, *events],
            )
            for claimed, seq, events in appends
        ]
        replies = await APPEND.many(self._courier, calls)
        return [reply if isinstance(reply, Exception) else None for reply in replies]

    async def checkpoint(
        self,
        claimed: Claimed,
        step: StepRecord,
        history: bytes = b"",
        *,
        next_seq: int = 0,
        number: int = 0,
        known: int = 0,
    ) -> None:
        """Store a step's result; also extends the lease. A result that decides the message waits for the replicas.

        Args:
            claimed: the attempt that has run the step.
            step: its record.
            history: the messages that the producer sees, as JSON. What was stored first stays, for all attempts.
            next_seq: the seq of the attempt's next event; 0 if the step covers no events.
            number: of this checkpoint in its turn, from 1; 0: it is not counted.
            known: number of the last checkpoint that is known to be stored; 0 checks nothing.

        Raises:
            AttemptFenced: the lease was lost.
            LogBehind, StepsBehind: the store has lost what it had acknowledged. Nothing was written.
        """
        key, lease_ms = claimed.key, self.settings.lease_ms
        covers = step.cursor if step.status == "completed" else ""
        used = b"" if step.usage is None else encode_progress(claimed.attempt, step.usage)
        record = msgspec.json.encode(step)
        args: list[Arg] = [claimed.attempt, claimed.token, lease_ms, step.index, record, covers, used, history]
        args += [int(step.is_answer), next_seq, number, known]
        courier = self._replicated if step.decides_message else self._courier
        await CHECKPOINT(courier, [key.record, key.lease, key.steps, key.events], args)

    async def settle(
        self,
        claimed: Claimed,
        status: TurnState,
        seq: int,
        events: Sequence[bytes],
        fields: Mapping[str, Arg],
        used: bytes = b"",
        *,
        known: int = 0,
        step: StepRecord | None = None,
    ) -> Settled:
        """End the attempt. One write appends its last events, stores the outcome and the ledger row, and sets the TTLs.

        `known` is that of `checkpoint`. `step` is stored by the same write.

        Raises:
            AttemptFenced: the lease was lost.
            LogBehind, StepsBehind: as of `checkpoint`.
        """
        args: list[Arg] = [
            self._end_prefix,
            claimed.key.index,
            claimed.attempt,
            claimed.token,
            self._retention.ms(claimed.key.session.tenant),
            status.value,
            fields.get("error_code", ""),
            used,
            seq,
            known,
            *(("", "") if step is None else (step.index, msgspec.json.encode(step))),
            len(events),
            *events,
            *flat(fields),
        ]
        woken, row = await SETTLE(self._replicated, claimed.key.all_keys(), args)
        await self._tell_end(claimed.key)
        return Settled(indexes_of(woken), row)

    async def renew_many(self, attempts: Sequence[Claimed]) -> list[bool | Exception]:
        """Extend leases in one round trip. A lease that lapsed comes back if nobody took the turn.

        Returns: for each attempt, True (somebody wants the turn cancelled), False, AttemptFenced (the lease was lost)
            or StoreUnavailable.
        """
        calls: list[Call] = [
            ([claimed.key.record, claimed.key.lease], [claimed.attempt, claimed.token, self.settings.lease_ms])
            for claimed in attempts
        ]
        replies = await RENEW.many(self._courier, calls)
        return [reply if isinstance(reply, Exception) else reply == 2 for reply in replies]

    async def suspend(
        self,
        claimed: Claimed,
        signal: str,
        timeout_ms: int | None,
        seq: int,
        event: bytes,
        used: bytes = b"",
        history: bytes = b"",
        *,
        known: int = 0,
    ) -> Signal | GivenUp:
        """Suspend the turn until a signal comes, or return the signal if it is there already.

        `history` and `known` are those of `checkpoint`.

        Raises:
            AttemptFenced: the lease was lost.
            LogBehind, StepsBehind: as of `checkpoint`.
        """
        key = claimed.key
        timeout = "" if timeout_ms is None else timeout_ms
        lease_ms = self.settings.lease_ms
        until: list[Arg] = [signal, timeout, used, seq, event, history, known]
        args: list[Arg] = [self._channel_prefix, claimed.attempt, claimed.token, lease_ms, *until]
        names = [key.session.record, key.record, key.lease, key.steps, key.events, key.signals, key.ledger]
        stored, *row = await SUSPEND(self._courier, [*names, *SUSPENDED_INDEX], args)
        return GivenUp(bytes(row[0])) if row else _signal.decode(stored)

    async def rewind(self, claimed: Claimed, after: str, used: bytes = b"") -> Rewound:
        """Delete the events after the cursor `after`, and continue the turn as the next attempt of the same worker.

        Raises:
            AttemptFenced: the lease was lost.
        """
        key = claimed.key
        holder: list[Arg] = [claimed.attempt, claimed.token, claimed.worker, self.settings.lease_ms]
        args: list[Arg] = [self._channel_prefix, *holder, after, used]
        names = [key.session.record, key.record, key.lease, key.events, key.ledger]
        attempt, next_seq, row = await REWIND(self._courier, names, args)
        return Rewound(msgspec.structs.replace(claimed, attempt=attempt, next_seq=next_seq), row)

    async def handover(self, claimed: Claimed, used: bytes = b"", reason: GiveBackReason = "handover") -> bytes:
        """Give the turn back without spending an attempt. `reason`: why the next attempt will run.

        Returns: the attempt's ledger row; empty if the turn was not this attempt's any more.
        """
        key = claimed.key
        args: list[Arg] = [claimed.attempt, claimed.token, used, reason, key.index, self._followers(key.session)]
        return bytes(await HANDOVER(self._courier, [key.session.record, key.record, key.lease, key.ledger], args))

    async def mingle(self, keys: Sequence[TurnKey], worker: str) -> None:
        """Note that a worker may now run any jobs beside these turns. It had claimed them to run beside few others."""
        for reply in await MINGLE.many(self._courier, [([key.record], [worker]) for key in keys]):
            if isinstance(reply, Exception):
                raise reply

    async def free(
        self, keys: Sequence[TurnKey], worker: str, company: int, *, elsewhere: int = 0, persists: bool = False
    ) -> None:
        """Drop the leases that a dead worker holds on these turns; or note that it was persisting their answers.

        `company`: how many jobs it had; 0: it has stopped in order, and that is no crash. `elsewhere`: how many jobs
        other workers had that died at the same time.
        """
        args: list[Arg] = [worker, company, elsewhere, int(persists)]
        calls: list[Call] = [([key.record, key.lease], args) for key in keys]
        for reply in await FREE.many(self._courier, calls):
            if isinstance(reply, Exception):
                raise reply


def flat(fields: Mapping[str, Arg]) -> list[Arg]:
    """Return fields and values in one list, as HSET takes them."""
    return [part for pair in fields.items() for part in pair]
