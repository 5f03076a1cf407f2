"""A store of turns in memory: the same methods, results and refusals as TurnStore, without Redis.

The model tests of Turnwire play the same random stories against this store and against Redis and compare every reply
and everything that is stored.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from turnwire.shared.errors import (
    AttemptFenced,
    InputMismatch,
    LeaseHeld,
    NotFound,
    SignalLimit,
    TurnEnded,
    TurnLimit,
)
from turnwire.shared.events import Cursor
from turnwire.shared.keys import MAX_TURN_INDEX, SessionKey, TurnKey
from turnwire.shared.model import StepRecord
from turnwire.shared.replies import Cancelled, CancelVerdict, PersistTry, Signalled, Submitted
from turnwire.shared.request import TurnRequest
from turnwire.shared.store.planned_job import PlannedJob
from turnwire.shared.store.scripts import IndexMoved
from turnwire.testing import memory_branches as branches
from turnwire.testing import memory_rules as rules
from turnwire.testing.life import write
from turnwire.testing.memory import MemorySession, MemoryTurn
from turnwire.testing.memory_attempts import MemoryAttempts, as_text
from turnwire.testing.memory_suspects import OF_A_TRY, Suspicion

_OF_THE_LAST_END = (
    "error_code", "error_message", "retryable", "retry_after_ms", "final_text", "untransformed", "started_at",
    "completed_at", "cancel_requested", "model_calls", "tokens_in", "tokens_out", "cached_tokens", "reasoning_tokens",
    "cost_nanos", "currency", "price_version", "model_called", "finish_reason", "partial",
    "partial_text", "in_history", "crashes_alone",
)  # fmt: skip


class MemoryStore(MemoryAttempts):
    """Turns in memory. `memory` holds them; several stores may share it, as several processes share a Redis."""

    async def submit(self, key: TurnKey, request: TurnRequest, *, job: PlannedJob | None = None) -> Submitted:
        """See TurnStore. The queue in memory counts as another database, so there is no `job`."""
        assert job is None
        return await self._submitted(key, request, is_next=False, idempotency_key="")

    async def submit_next(
        self, key: TurnKey, request: TurnRequest, idempotency_key: str = "", *, job: PlannedJob | None = None
    ) -> Submitted:
        """See TurnStore. There is no `job`, as for `submit`."""
        assert job is None
        return await self._submitted(key, request, is_next=True, idempotency_key=idempotency_key)

    async def _submitted(self, key: TurnKey, request: TurnRequest, *, is_next: bool, idempotency_key: str) -> Submitted:
        memory = self.memory
        found = memory.session(key.session)
        session = found if found is not None else MemorySession()
        kept = session.fields.get(f"key:{idempotency_key}") if idempotency_key else None
        expected = kept or memory.next_index(key.session)
        if key.index > MAX_TURN_INDEX:
            raise TurnLimit("this session has used up its indexes")
        known = bool(session.fields.get("tenant")) or key.index in session.turns
        if request.bound and known and session.fields.get("user") != (request.user or ""):
            raise NotFound("no such session")
        if is_next and expected != str(key.index):
            raise IndexMoved(expected)
        digest = request.input_hash(key)
        turn = session.turns.get(key.index)
        if turn is not None and turn.fields["input_hash"] != digest:
            raise InputMismatch("this turn was asked with other input")
        if turn is not None and turn.status == "completed":
            return Submitted("replay", key, turn.attempt, "", completed=await self.record(key))
        if turn is not None and turn.is_open:
            if request.on_busy == "reject":
                raise LeaseHeld("this turn is in progress")
            mark = turn.fields["asked"] = memory.new_mark()
            return Submitted("attached" if turn.status == "queued" else "running", key, turn.attempt, mark)
        branches.check(session, key.index, request)
        if turn is None and len(session.indexes) >= self.settings.max_turns_per_session:
            raise TurnLimit("this session has reached its limit of turns")
        return self._asked(key, request, memory.made(key.session), digest, idempotency_key)

    def _asked(
        self, key: TurnKey, request: TurnRequest, session: MemorySession, digest: str, idempotency_key: str
    ) -> Submitted:
        memory, names = self.memory, key.session
        turn, now = session.turns.get(key.index), str(self.memory.now_ms)
        fields = {"run_id": key.run_id, "session": names.session, "tenant": names.tenant}
        fields |= {name: as_text(value) for name, value in request.fields().items()}
        fields |= {"status": "queued", "updated_at": now}
        reopened = turn is not None
        if turn is not None:
            rules.remove(turn.fields, "pool", "priority", "traceparent", "tracestate", "request_id")
            if turn.status == "failed" and turn.fields.get("error_code") == "signal_timeout":
                rules.forget_timeout(turn)
            turn.fields |= fields | {"resume_reason": "retry", "crashes": "0"}
            rules.remove(turn.fields, *_OF_THE_LAST_END)
            rules.cut_log(turn)
        else:
            created = {"attempt": "0", "crashes": "0", "created_at": now, "input_hash": digest}
            created["lineage"] = memory.lineage
            turn = session.turns[key.index] = MemoryTurn(fields | created)
            if request.user and "created_at" not in session.fields:
                session.fields["user"] = request.user
            session.fields.setdefault("created_at", now)
            session.fields["tenant"] = names.tenant
            session.indexes.add(key.index)
            next_index = memory.next_index(names)
            if key.index >= int(next_index):
                turn.fields["next_index_before"], next_index = next_index, str(key.index + 1)
            session.fields["next_index"] = next_index
            memory.number(names, next_index, self.settings.session_retention_ms)
            if idempotency_key:
                session.fields |= {f"key:{idempotency_key}": str(key.index), f"key_of:{key.index}": idempotency_key}
        session.open.add(key.index)
        session.ends_ms = turn.ends_ms = None
        mark = turn.fields["asked"] = memory.new_mark()
        return Submitted("reopened" if reopened else "created", key, turn.attempt, mark)

    @write
    async def withdraw(self, submitted: Submitted, events: Sequence[bytes]) -> list[int] | None:
        """See TurnStore."""
        memory, key, retention_ms = self.memory, submitted.key, self.settings.retention_ms
        session, turn = memory.session(key.session), memory.turn(key)
        if session is None or turn is None:
            return branches.woken(session, turn) if submitted.verdict == "created" else None
        asked = turn.fields.get("asked")
        if turn.status == "failed" and asked == submitted.mark:
            return branches.woken(session, turn)
        is_new = submitted.verdict == "created"
        if turn.status != "queued" or asked != submitted.mark or (is_new and "wakes" in turn.fields):
            return None
        if is_new:
            self._disappear(key, session, turn)
            return branches.woken(session, turn)
        attempt = turn.attempt + 1
        rules.add_events(memory, key, turn, Cursor(attempt, turn.next_seq), events)
        turn.fields["attempt_at"] = str(memory.now_ms)
        rules.add_row(memory, session, turn, attempt, "failed", "queue_full", rules.nothing_used())
        fields = {
            "attempt": str(attempt),
            "error_code": "queue_full",
            "error_message": "too many turns are waiting",
            "retryable": "1",
        }
        rules.close_turn(memory, session, turn, key.index, "failed", fields, retention_ms)
        return branches.woken(session, turn)

    def _disappear(self, key: TurnKey, session: MemorySession, turn: MemoryTurn) -> None:
        memory, before = self.memory, turn.fields.get("next_index_before")
        del session.turns[key.index]
        session.open.discard(key.index)
        session.drop(key.index)
        if before is not None and session.fields["next_index"] == str(key.index + 1):
            session.fields["next_index"] = before
            memory.number(key.session, before, None)
        if not session.indexes and session.fields["created_at"] == turn.fields["created_at"]:
            session.fields, session.ends_ms = {}, None
        else:
            rules.keep_session(memory, session, self.settings.retention_ms)

    @write
    async def signal(
        self, key: TurnKey, signal: str, payload: bytes, max_signals: int | None = None, *, user: str | None = None,
        entry: bytes | None = None,  # noqa: ARG002 - there is no audit
    ) -> Signalled:  # fmt: skip
        """See TurnStore."""
        turn = self.memory.turn(key)
        if turn is None or self._is_foreign(key.session, user):
            raise NotFound("no such turn")
        if signal in turn.signals:
            return Signalled(False, turn.signals[signal], turn.status == "queued", turn.lane)
        if not turn.is_open:
            raise TurnEnded("this turn has ended")
        stored = b'{"payload":%b,"emitted_at":%d}' % (payload, self.memory.now_ms)
        waits = turn.status == "suspended" and turn.fields.get("awaiting") == signal
        size = int(turn.fields.get("signal_bytes", "0")) + len(signal) + len(stored)
        if not waits and len(turn.signals) >= (max_signals or self.settings.max_signals):
            raise SignalLimit("this turn has as many signals as it may have")
        if not waits and size > self.settings.max_signal_bytes:
            raise SignalLimit("the signals of this turn are too large together")
        turn.signals[signal] = stored
        turn.fields["signal_bytes"] = str(size)
        if waits:
            rules.wake(self.memory, turn)
        return Signalled(True, stored, waits, turn.lane)

    @write
    async def expire(self, key: TurnKey) -> int | None:
        """See TurnStore."""
        turn = self.memory.turn(key)
        if turn is None or turn.status != "suspended" or "deadline" not in turn.fields:
            return None
        left_ms = int(turn.fields["deadline"]) - self.memory.now_ms
        if left_ms > 0:
            return left_ms
        turn.signals.setdefault(turn.fields["awaiting"], b'{"timed_out":true,"emitted_at":%d}' % self.memory.now_ms)
        rules.wake(self.memory, turn)
        return 0

    @write
    async def keep_step(self, key: TurnKey, attempt: int, step: StepRecord) -> None:
        """See TurnStore."""
        turn = self.memory.turn(key)
        if turn is None or turn.is_open or turn.attempt != attempt:
            raise AttemptFenced("the turn has not ended with this attempt")
        turn.steps[step.index] = msgspec.json.encode(step)

    @write
    async def try_to_persist(
        self, key: TurnKey, first_ms: int, longest_ms: int, *, rare_ms: int = 0, company: int = 0
    ) -> PersistTry | None:
        """See TurnStore."""
        turn, now_ms = self._pending(key), self.memory.now_ms
        if turn is None:
            return None
        tries, wait_ms = int(turn.fields.get("persist_tries", "0")), int(turn.fields.get("persist_at", "0")) - now_ms
        if wait_ms > 0:
            return PersistTry(tries, wait_ms)
        suspicion = Suspicion.read(turn.fields, "persist_")
        if "persist_company" in turn.fields:
            suspicion.add_crash(int(turn.fields["persist_company"]))
        if not suspicion.may_run(company):
            return PersistTry(tries, 0, suspicion.limit or 0)
        pause_ms = min(first_ms * 2 ** min(tries + 1, 20), longest_ms)
        pause_ms = rare_ms if suspicion.alone >= self.settings.max_attempts else pause_ms
        turn.fields |= {"persist_tries": str(tries + 1), "persist_at": str(now_ms + pause_ms)}
        turn.fields |= {"persist_company": str(company)} | suspicion.fields("persist_")
        self._keep(key, turn)
        return PersistTry(tries + 1)

    @write
    async def persist_failed(self, key: TurnKey) -> None:
        """See TurnStore."""
        turn = self._pending(key)
        if turn is not None:
            rules.remove(turn.fields, *OF_A_TRY)
            self._keep(key, turn)

    @write
    async def persisted(self, key: TurnKey, final_text: str) -> bool:
        """See TurnStore."""
        turn = self._pending(key)
        if turn is None:
            return False
        turn.fields |= {"persist": "done", "final_text": final_text}
        rules.remove(turn.fields, "untransformed", "persist_at", *OF_A_TRY)
        self._keep(key, turn)
        return True

    def _pending(self, key: TurnKey) -> MemoryTurn | None:
        turn = self.memory.turn(key)
        pending = turn is not None and not turn.is_open and turn.fields.get("persist") == "pending"
        return turn if pending else None

    def _keep(self, key: TurnKey, turn: MemoryTurn) -> None:
        turn.ends_ms = self.memory.now_ms + self.settings.retention_ms
        rules.keep_session(self.memory, self.memory.made(key.session), self.settings.retention_ms)

    @write
    async def cancel(
        self, key: TurnKey, reason: str = "", *, repeated: bool = False, user: str | None = None
    ) -> Cancelled:
        """See TurnStore."""
        memory = self.memory
        session, turn = memory.session(key.session), memory.turn(key)
        if session is None or turn is None or self._is_foreign(key.session, user):
            raise NotFound("no such turn")
        requested = turn.fields.get("cancel_requested")
        if not turn.is_open or (repeated and requested is None):
            return Cancelled(CancelVerdict.ENDED)
        runs = turn.status == "running" and turn.holder(memory.now_ms) is not None
        if runs or "answered" in turn.fields:
            turn.fields.setdefault("cancel_requested", reason)
            for cancelled in memory.cancels:
                cancelled(key.run_id)
            return Cancelled(CancelVerdict.REQUESTED)
        rules.open_attempt(memory, key, session, turn, "cancelled", "")
        self._give_up(key, session, turn, "cancelled", rules.cancel_message(reason if requested is None else requested))
        return Cancelled(CancelVerdict.CANCELLED, branches.woken(session, turn))

    @write
    async def erase(self, session: SessionKey, *, user: str | None = None, before: Any = None) -> bool:  # noqa: ARG002
        """See TurnStore. Nobody asks here to be called before."""
        found = self.memory.session(session)
        if self._is_foreign(session, user) or not self.memory.forget(session):
            return False
        for index in sorted(found.indexes if found is not None else ()):
            for cancelled in self.memory.cancels:
                cancelled(session.turn(index).run_id)
        return True

    def _is_foreign(self, key: SessionKey, user: str | None) -> bool:
        session = self.memory.session(key)
        return bool(user) and (session.fields.get("user") if session is not None else None) != user
