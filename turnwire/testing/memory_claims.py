"""The claim of a turn in memory: what AttemptWrites.claim does, with the same results."""

from collections.abc import Collection, Sequence

from turnwire.shared.keys import TurnKey
from turnwire.shared.lanes import paused_field
from turnwire.shared.model import Claimed, Ended, Held, Paused, Suspended, Unserved, Waits
from turnwire.shared.replies import Suspect
from turnwire.shared.store.attempts import ASIDE_MS, Claim
from turnwire.testing import memory_branches as branches
from turnwire.testing import memory_rules as rules
from turnwire.testing.life import write
from turnwire.testing.memory import MemorySession, MemoryTurn
from turnwire.testing.memory_reads import MemoryReads, decoded_steps, record_of
from turnwire.testing.memory_suspects import Suspicion


class MemoryClaims(MemoryReads):
    """The claim, and what it decides."""

    @write
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
        """See AttemptWrites."""
        memory, session, turn = self.memory, self.memory.session(key.session), self.memory.turn(key)
        if session is None or turn is None:
            return Ended()
        cancelled = None if "answered" in turn.fields else turn.fields.get("cancel_requested")
        if turn.status == "suspended" and cancelled is None:
            return Suspended(dict(turn.ledger))
        if not turn.is_open:
            return self._ended(key, session, turn)
        holder = turn.holder(memory.now_ms)
        if holder is not None and turn.lease is not None:
            if turn.status == "running" and holder == f"{worker}#{turn.attempt}":
                return self._granted(key, turn, worker, [], None)
            return Held(max(turn.lease[1] - memory.now_ms, 0))
        on_busy = turn.fields.get("on_busy")
        if on_busy != "concurrent" and cancelled is None:
            ahead = branches.ahead_of(session, key.index, turn.fields.get("parent"))
            if ahead is not None:
                branches.note_wait(session, key.index, ahead)
                return Waits(ahead, on_busy == "interrupt")
        if cancelled is None and (pause := self._paused(key, turn, paused)) is not None:
            return pause
        if cancelled is None and (unserved := self._unserved(turn, projects)) is not None:
            return unserved
        return self._started(key, session, turn, worker, company, keeps_tail=keeps_tail)

    def _paused(self, key: TurnKey, turn: MemoryTurn, paused: Collection[str]) -> Paused | None:
        reason, project = turn.fields.get("resume_reason"), turn.fields.get("project", "")
        if turn.status == "running" or reason in {"handover", "store_lost"} or "answered" in turn.fields:
            return None
        since_us = int(turn.fields.get("asked") or int(turn.fields["updated_at"]) * 1000)
        if paused_field("tenant", key.session.tenant) in paused:
            return Paused("tenant", key.session.tenant, since_us)
        return Paused("project", project, since_us) if paused_field("project", project) in paused else None

    def _unserved(self, turn: MemoryTurn, projects: Sequence[str] | None) -> Unserved | None:
        project = turn.fields.get("project", "")
        if projects is None or project in projects:
            return None
        return Unserved(project, self.memory.now_ms - int(turn.fields["updated_at"]))

    def _started(
        self, key: TurnKey, session: MemorySession, turn: MemoryTurn, worker: str, company: int, *, keeps_tail: bool
    ) -> Claimed | Suspect | Ended:
        memory, answered = self.memory, "answered" in turn.fields
        cancelled = None if answered else turn.fields.get("cancel_requested")
        reason, suspicion = turn.fields.get("resume_reason", "lease_expired"), Suspicion.read(turn.fields)
        crashed = turn.status == "running" and turn.fields.get("company") != "stopped"
        if turn.status == "running":
            reason = "lease_expired"
        if crashed:
            suspicion.add_crash(int(turn.fields.get("company", "0")))
        given_up = suspicion.alone >= self.settings.max_attempts and not answered
        since_ms = turn.fields.get("lease_end" if turn.status == "running" else "updated_at", turn.fields["updated_at"])
        waits = memory.now_ms - int(since_ms) < ASIDE_MS
        if cancelled is None and not given_up and waits and not suspicion.may_run(company):
            assert suspicion.limit is not None, "it is a suspect"
            return Suspect(suspicion.limit)
        waited_ms = self._waited_ms(key, session, turn)
        runner = "" if cancelled is not None or given_up else worker
        cut = rules.open_attempt(memory, key, session, turn, reason, runner, keeps_tail=keeps_tail)
        if crashed:
            turn.fields |= suspicion.fields()
        if cancelled is not None:
            self._give_up(key, session, turn, "cancelled", rules.cancel_message(cancelled))
        elif given_up:
            message = f"the turn was given up: {suspicion.crashes} workers died while they ran it"
            self._give_up(key, session, turn, "attempts_exhausted", message)
        else:
            turn.lease = f"{worker}#{turn.attempt}", memory.now_ms + self.settings.lease_ms
            turn.fields["lease_end"] = str(memory.now_ms + self.settings.lease_ms)
            turn.fields.setdefault("parent", branches.default_parent(session, key.index))
            rules.remove(turn.fields, "company")
            if company:
                turn.fields["company"] = str(company)
            return self._granted(key, turn, worker, cut, waited_ms)
        return self._ended(key, session, turn)

    def _ended(self, key: TurnKey, session: MemorySession, turn: MemoryTurn) -> Ended:
        by_script = turn.fields.get("worker") == ""
        if turn.status == "completed" and not by_script:
            return Ended(branches.woken(session, turn), dict(turn.ledger))
        last = [event for cursor, event in turn.log or [] if by_script and cursor.attempt >= turn.attempt]
        return Ended(branches.woken(session, turn), dict(turn.ledger), record_of(key, turn), last)

    def _waited_ms(self, key: TurnKey, session: MemorySession, turn: MemoryTurn) -> int:
        now_ms, fields = self.memory.now_ms, turn.fields
        if turn.status == "running":
            return max(now_ms - int(fields.get("lease_end", now_ms)) + self.settings.lease_ms, 0)
        before = session.turns.get(int(fields.get("parent", key.index - 1)))
        ended_at = before.fields.get("completed_at", "0") if before is not None else "0"
        return max(now_ms - max(int(fields["updated_at"]), int(ended_at)), 0)

    def _granted(self, key: TurnKey, turn: MemoryTurn, worker: str, cut: list[bytes], waited_ms: int | None) -> Claimed:
        attempt = turn.attempt
        first = next(event for cursor, event in turn.log or [] if cursor.attempt >= attempt)
        return Claimed(
            key,
            attempt,
            worker,
            turn.next_seq,
            self.memory.now_ms,
            first,
            record_of(key, turn),
            decoded_steps(turn),
            dict(turn.ledger) if attempt > 1 else {},
            turn.history,
            int(turn.fields.get("crashes_alone", "0")),
            int(turn.fields.get("checkpoints", "0")),
            cut,
            waited_ms,
        )

    def _give_up(self, key: TurnKey, session: MemorySession, turn: MemoryTurn, code: str, message: str) -> None:
        rules.give_up(self.memory, key, session, turn, code, message, self.settings.retention_ms)
