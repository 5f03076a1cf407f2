"""Reading turns: plain commands that touch no lease.

They change nothing, except that they remove turns whose retention is over from the indexes of their session.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from turnwire.shared.channels import NOT_PUBLISHED
from turnwire.shared.errors import NotFound
from turnwire.shared.events import Cursor, Entry, is_terminal
from turnwire.shared.keys import ALL_TURNS, CALLBACK_PREFIX, SessionKey, TurnKey, persist_id
from turnwire.shared.lanes import Lane
from turnwire.shared.ledger import LedgerRow, UsageSums, decode_row
from turnwire.shared.lifecycle import TERMINAL_STATES, TurnState
from turnwire.shared.model import StepRecord, TurnRecord, readable
from turnwire.shared.store.connection import lineage_of
from turnwire.shared.store.scripts import answered_within, typed_refusals
from turnwire.shared.store.session_reads import SessionReads

SESSION_SUMS: Final = "usage:"  # prefix of the sums in the session's hash; parts/ledger.lua writes them
SCANNED_KEYS: Final = 500
_TERMINAL_STATES: Final = frozenset(state.value.encode() for state in TERMINAL_STATES)
_OPEN_STATES: Final = frozenset(state.value.encode() for state in TurnState) - _TERMINAL_STATES


class TurnsPage(NamedTuple):
    """A part of all turns."""

    next_cursor: int  # 0 after the last page
    job_ids: list[str]  # the jobs that there should be
    ended: list[str]  # the run ids of turns that have ended
    suspended: Sequence[str] = ()  # the run ids of suspended turns


class TurnReads(SessionReads):
    """Reads from the data Redis. Methods raise StoreUnavailable when it does not answer."""

    async def next_index(self, session: SessionKey, idempotency_key: str = "") -> int:
        """Return the index for `submit_next`: that of this Idempotency-Key if it has one, else the session's next."""
        with typed_refusals():
            fields = self._courier.send("HMGET", session.record, "next_index", f"key:{idempotency_key}")
            (next_index, kept), last = await asyncio.gather(fields, self._courier.send("GET", session.numbering))
        return int((kept if idempotency_key else None) or next_index or last or 0)

    async def is_completed(self, key: TurnKey) -> bool:
        """Return whether the turn is completed, so that a request for it is a replay or a mismatch."""
        with typed_refusals():
            return bool(await self._courier.send("HGET", key.record, "status") == b"completed")

    async def cancel_reason(self, key: TurnKey) -> str:
        """Return the reason that was given when the turn's cancellation was requested; '' if there is none."""
        with typed_refusals():
            reason = await self._courier.send("HGET", key.record, "cancel_requested")
        return (reason or b"").decode()

    async def record(self, key: TurnKey) -> TurnRecord | None:
        """Return the turn, or None if there is no such turn."""
        with typed_refusals():
            fields = await self._courier.send("HGETALL", key.record)
        return TurnRecord.from_hash(key, self._opened(key, dict(zip(fields[::2], fields[1::2], strict=True))))

    def _opened_events(self, key: TurnKey, events: list[bytes]) -> list[bytes]:  # noqa: ARG002
        """Return the events in clear text. Here nothing is encrypted; SealedStore decrypts."""
        return events

    def _opened_grant(self, key: TurnKey, granted: Sequence[Any]) -> Sequence[Any]:  # noqa: ARG002
        """Return in clear text what claim.lua returns for an attempt that it has started."""
        return granted

    async def existing(self, key: TurnKey) -> TurnRecord:
        """Return the turn.

        Raises:
            NotFound: there is no such turn.
        """
        record = await self.record(key)
        if record is None:
            raise NotFound("no such turn")
        return record

    async def persist_tries(self, keys: Sequence[TurnKey]) -> list[int]:
        """Return, for each turn, how often Turnwire tried to persist its answer after the turn had ended."""
        async with answered_within(self._timeout_s), self.redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hget(key.record, "persist_tries")
            return [int(tries or 0) for tries in await pipe.execute()]

    async def untransformed(self, key: TurnKey) -> str | None:
        """Return the text of an ended turn that `transform_final_text` has not accepted yet; None: there is none."""
        with typed_refusals():
            text = await self._courier.send("HGET", key.record, "untransformed")
        return None if text is None else str(text.decode())

    async def steps(self, key: TurnKey) -> dict[int | str, StepRecord]:
        """Return the turn's checkpoints, by position."""
        async with answered_within(self._timeout_s):
            stored = await self.redis.hgetall(key.steps)
        stored.pop(b"history", None)
        with readable(f"a step of turn {key.run_id}"):
            return {position_of(name): msgspec.json.decode(step, type=StepRecord) for name, step in stored.items()}

    async def standing(self, key: TurnKey) -> tuple[Cursor | None, bool]:
        """Return the cursor of the last event in the log, and whether the turn is over: terminal, or deleted."""
        async with answered_within(self._timeout_s), self.redis.pipeline(transaction=False) as pipe:
            pipe.hget(key.record, "status")  # first, because the log of a terminal turn does not grow any more
            pipe.xrevrange(key.events, "+", "-", 1)
            status, entries = await pipe.execute()
        over = status is None or status.decode(errors="replace") in TERMINAL_STATES
        return (Cursor.parse(entries[0][0].decode()) if entries else None), over

    async def lane(self, key: TurnKey) -> Lane:
        """Return the lane of a turn; the default one if there is no such turn."""
        async with answered_within(self._timeout_s):
            return Lane.read(*await self.redis.hmget(key.record, "pool", "priority"))

    async def page_of_turns(self, cursor: int) -> TurnsPage:
        """Read a page of all turns. The first page begins at cursor 0. A turn may be on two pages."""
        async with answered_within(self._timeout_s):
            cursor, names = await self.redis.scan(cursor, match=ALL_TURNS, count=SCANNED_KEYS)
            async with self.redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hmget(name, "run_id", "status", "persist", "callback")
                turns = [(run_id.decode(), *fields) for run_id, *fields in await pipe.execute() if run_id]
        runs = [run_id for run_id, status, *_ in turns if status in _OPEN_STATES]
        persists = [persist_id(run_id) for run_id, _, persist, _ in turns if persist == b"pending"]
        callbacks = [CALLBACK_PREFIX + run_id for run_id, *_, callback in turns if callback]  # also those made already
        ended = [run_id for run_id, status, *_ in turns if status in _TERMINAL_STATES]
        suspended = [run_id for run_id, status, *_ in turns if status == TurnState.SUSPENDED.value.encode()]
        return TurnsPage(cursor, runs + persists + callbacks, ended, suspended)

    async def rows_of(self, run_ids: Sequence[str]) -> list[dict[int, bytes]]:
        """Return attempt -> ledger row of each of these turns, as they are stored."""
        async with answered_within(self._timeout_s), self.redis.pipeline(transaction=False) as pipe:
            for run_id in run_ids:
                pipe.hgetall(TurnKey.parse(run_id).ledger)
            return [{int(attempt): row for attempt, row in rows.items()} for rows in await pipe.execute()]

    async def lineage(self) -> str:
        """Return the lineage of the server's data. A restart, a failover and a restored copy begin another one."""
        with typed_refusals():
            return lineage_of(await self._courier.send("INFO", "replication"))

    async def has_failed_over(self, key: TurnKey) -> bool:
        """Whether the store has another history than at the turn's last claim, and so may lack its last writes."""
        with typed_refusals():
            known, info = await asyncio.gather(
                self._courier.send("HGET", key.record, "lineage"), self._courier.send("INFO", "replication")
            )
        return bool(known) and b"master_replid:" + known not in info

    async def ledger(self, key: TurnKey) -> list[LedgerRow]:
        """Return the turn's ledger rows, oldest first."""
        async with answered_within(self._timeout_s):
            rows = await self.redis.hgetall(key.ledger)
        with readable(f"the ledger of turn {key.run_id}"):
            return [decode_row(rows[attempt]) for attempt in sorted(rows, key=int)]

    async def usage(self, session: SessionKey) -> UsageSums | None:
        """Return the sums of the session's ledger rows, or None if there is no such session."""
        async with answered_within(self._timeout_s):
            fields = await self.redis.hgetall(session.record)
        with readable(f"the usage of session {session.scope}"):
            return UsageSums.from_hash(fields, SESSION_SUMS) if fields else None

    async def read(self, key: TurnKey, after: Cursor | None, limit: int = 500) -> list[Entry]:
        """Return at most `limit` events after a cursor, oldest first. With None, from the start of the log.

        With TURNWIRE_REDIS_REPLICAS, an end is returned only when the replicas have it.
        """
        async with answered_within(self._timeout_s):
            start = "-" if after is None else f"({after}"
            found = await self.redis.xrange(key.events, start, "+", limit)
        entries = [Entry(entry_id, event) for entry_id, (_, event) in found]
        if entries and self._end_prefix == NOT_PUBLISHED and is_terminal(entries[-1].event):
            await self._until_replicated(key)
        return entries

    async def read_all(self, key: TurnKey) -> list[Entry]:
        """Return the whole log."""
        entries = await self.read(key, None)
        while entries and (page := await self.read(key, Cursor.parse(entries[-1].id.decode()))):
            entries += page
        return entries


def position_of(field: bytes) -> int | str:
    """Return the position of a step from the name of its field: a number, or `<hook>/…`."""
    return int(field) if field.isdigit() else field.decode()
