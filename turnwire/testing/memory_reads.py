"""Reading turns in memory: the methods of TurnReads, without Redis."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import msgspec

from turnwire.shared.events import Cursor, Entry
from turnwire.shared.keys import SessionKey, TurnKey, persist_id
from turnwire.shared.lanes import DEFAULT_LANE, Lane
from turnwire.shared.ledger import LedgerRow, UsageSums, decode_row
from turnwire.shared.model import StepRecord, TurnRecord
from turnwire.shared.settings import Settings
from turnwire.shared.store.ancestry import Found
from turnwire.shared.store.findings import Findings
from turnwire.shared.store.reads import SESSION_SUMS, TurnsPage
from turnwire.shared.store.session_look import FOLLOWED_MS, GONE, LOOKED_AT, Look, TurnStanding
from turnwire.shared.store.turns import TurnStore
from turnwire.testing.life import Life, Unharmed
from turnwire.testing.memory import Memory, MemoryTurn


class MemoryReads(TurnStore):
    """The reads of a store in memory. It has no connection: `super().__init__` is not called on purpose."""

    def __init__(self, memory: Memory, settings: Settings, life: Life | None = None) -> None:
        self.memory = memory
        self.settings = settings
        self.life: Life = life if life is not None else Unharmed()

    @cached_property
    def findings(self) -> Findings:
        """See TurnStore."""
        return self.memory.findings

    def settings_of(self, tenant: str) -> Settings:  # noqa: ARG002 - there is no key file
        """See TurnReads."""
        return self.settings

    async def next_index(self, session: SessionKey, idempotency_key: str = "") -> int:
        """See TurnReads."""
        fields = self._fields(session)
        kept = fields.get(f"key:{idempotency_key}") if idempotency_key else None
        return int(kept or self.memory.next_index(session))

    async def is_completed(self, key: TurnKey) -> bool:
        """See TurnReads."""
        turn = self.memory.turn(key)
        return turn is not None and turn.status == "completed"

    async def cancel_reason(self, key: TurnKey) -> str:
        """See TurnReads."""
        turn = self.memory.turn(key)
        return turn.fields.get("cancel_requested", "") if turn is not None else ""

    async def user_of(self, session: SessionKey) -> str | None:
        """See TurnReads."""
        return self._fields(session).get("user")

    async def record(self, key: TurnKey) -> TurnRecord | None:
        """See TurnReads."""
        turn = self.memory.turn(key)
        return record_of(key, turn) if turn is not None else None

    async def waits_for(self, key: TurnKey) -> TurnKey | None:
        """See TurnReads."""
        session, turn = self.memory.session(key.session), self.memory.turn(key)
        first = session.next_open if session is not None else None
        if turn is not None and session is not None and "parent" in turn.fields:
            ahead = int(turn.fields.get("ahead", key.index))
            first = ahead if ahead in session.open else None
        is_concurrent = turn is not None and turn.fields.get("on_busy") == "concurrent"
        return None if is_concurrent or first is None or first >= key.index else key.session.turn(first)

    async def records(self, session: SessionKey, *, first: int = 0, limit: int = 100) -> list[TurnRecord]:
        """See TurnReads."""
        found = self.memory.session(session)
        indexes = sorted(index for index in found.indexes if index >= first) if found is not None else []
        return self._records_of(session, indexes[:limit])

    async def look(
        self, session: SessionKey, *, since_ms: int = 0, first: int | None = None, named: Sequence[int] = ()
    ) -> Look | None:
        """See SessionReads. One call looks at everything."""
        found, now_ms = self.memory.session(session), self.memory.now_ms
        if found is None or "created_at" not in found.fields:
            return None
        looked_at = [*named, *sorted(found.open)[:LOOKED_AT], *sorted(found.indexes)[-1:]]
        seen = {index: _standing(index, found.turns.get(index)) for index in looked_at}
        for index in sorted(found.indexes) if first is not None else ():
            standing = _standing(index, found.turns.get(index))
            if index >= (first or 0) and standing.updated_at >= since_ms:
                seen.setdefault(index, standing)
        if int(found.fields.get("followed", "0")) < now_ms + FOLLOWED_MS / 2:
            found.fields["followed"] = str(now_ms + FOLLOWED_MS)
        return Look(int(found.fields["created_at"]), now_ms, seen)

    async def prune(self, session: SessionKey) -> bool:  # noqa: ARG002
        """See TurnReads. A session in memory is always pruned."""
        return False

    async def _turns_up_to(self, session: SessionKey, index: int, limit: int) -> tuple[list[Found], int | None]:
        here = self.memory.session(session)
        before = sorted(other for other in here.indexes if other <= index) if here is not None else []
        page = before[-limit:]
        found = [Found(record.turn_index, record.parent, record) for record in self._records_of(session, page)]
        return found, page[0] if len(page) == limit else None

    async def persist_tries(self, keys: Sequence[TurnKey]) -> list[int]:
        """See TurnReads."""
        turns = [self.memory.turn(key) for key in keys]
        return [int(turn.fields.get("persist_tries", "0")) if turn is not None else 0 for turn in turns]

    async def untransformed(self, key: TurnKey) -> str | None:
        """See TurnReads."""
        turn = self.memory.turn(key)
        return None if turn is None else turn.fields.get("untransformed")

    async def lane(self, key: TurnKey) -> Lane:
        """See TurnReads."""
        turn = self.memory.turn(key)
        return DEFAULT_LANE if turn is None else turn.lane

    async def steps(self, key: TurnKey) -> dict[int | str, StepRecord]:
        """See TurnReads."""
        turn = self.memory.turn(key)
        return decoded_steps(turn) if turn is not None else {}

    async def standing(self, key: TurnKey) -> tuple[Cursor | None, bool]:
        """See TurnReads."""
        turn = self.memory.turn(key)
        if turn is None:
            return None, True
        return (turn.log[-1][0] if turn.log else None), not turn.is_open

    async def ledger(self, key: TurnKey) -> list[LedgerRow]:
        """See TurnReads."""
        turn = self.memory.turn(key)
        return [decode_row(turn.ledger[attempt]) for attempt in sorted(turn.ledger)] if turn is not None else []

    async def usage(self, session: SessionKey) -> UsageSums | None:
        """See TurnReads."""
        fields = self._fields(session)
        encoded = {name.encode(): value.encode() for name, value in fields.items()}
        return UsageSums.from_hash(encoded, SESSION_SUMS) if fields else None

    async def read(self, key: TurnKey, after: Cursor | None, limit: int = 500) -> list[Entry]:
        """See TurnReads."""
        turn = self.memory.turn(key)
        log = turn.log or [] if turn is not None else []
        later = [entry for entry in log if after is None or entry[0] > after]
        return [Entry(str(cursor).encode(), event) for cursor, event in later[:limit]]

    async def read_all(self, key: TurnKey) -> list[Entry]:
        """See TurnReads."""
        return await self.read(key, None, limit=2**31)

    def _fields(self, session: SessionKey) -> dict[str, str]:
        found = self.memory.session(session)
        return found.fields if found is not None else {}

    async def lineage(self) -> str:
        """See TurnReads."""
        return self.memory.lineage

    async def has_failed_over(self, key: TurnKey) -> bool:
        """See TurnReads."""
        turn = self.memory.turn(key)
        return turn is not None and turn.fields.get("lineage", self.memory.lineage) != self.memory.lineage

    async def page_of_turns(self, cursor: int) -> TurnsPage:
        """See TurnReads. All turns are on one page."""
        assert cursor == 0
        job_ids: list[str] = []
        ended: list[str] = []
        suspended: list[str] = []
        for key in self.memory.sessions():
            session = self.memory.session(key)
            for index, turn in session.turns.items() if session is not None else ():
                run_id = key.turn(index).run_id
                (job_ids if turn.is_open else ended).append(run_id)
                suspended += [run_id] if turn.status == "suspended" else []
                job_ids += [persist_id(run_id)] if turn.fields.get("persist") == "pending" else []
        return TurnsPage(0, job_ids, ended, suspended)

    async def rows_of(self, run_ids: Sequence[str]) -> list[dict[int, bytes]]:
        """See TurnReads."""
        turns = [self.memory.turn(TurnKey.parse(run_id)) for run_id in run_ids]
        return [dict(turn.ledger) if turn is not None else {} for turn in turns]

    def _records_of(self, session: SessionKey, indexes: Iterable[int]) -> list[TurnRecord]:
        keys = [session.turn(index) for index in indexes]
        return [record_of(key, turn) for key in keys if (turn := self.memory.turn(key)) is not None]


def _standing(index: int, turn: MemoryTurn | None) -> TurnStanding:
    fields = turn.fields if turn is not None else {}
    parent = fields.get("parent", "")
    updated_at = int(fields.get("updated_at", "0"))
    status = fields.get("status", GONE)
    return TurnStanding(index, status, int(fields.get("attempt", "0")), updated_at, int(parent) if parent else None)


def record_of(key: TurnKey, turn: MemoryTurn) -> TurnRecord:
    """Read the turn's fields in the way in which the turn hash is read."""
    record = TurnRecord.from_hash(key, {name.encode(): value.encode() for name, value in turn.fields.items()})
    assert record is not None, "a turn has a status"
    return record


def decoded_steps(turn: MemoryTurn) -> dict[int | str, StepRecord]:
    """Return the turn's checkpoints, by position."""
    return {position: msgspec.json.decode(step, type=StepRecord) for position, step in turn.steps.items()}
