"""The worker's writes in memory: the methods of AttemptWrites, with the same results, refusals and fences."""

from collections.abc import Mapping, Sequence

import msgspec

from turnwire.shared.errors import AttemptFenced, TurnwireError
from turnwire.shared.events import Cursor
from turnwire.shared.keys import TurnKey
from turnwire.shared.ledger import encode_progress
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Claimed, Signal, StepRecord
from turnwire.shared.replies import GivenUp, Rewound, Settled
from turnwire.shared.store.attempts import GiveBackReason
from turnwire.shared.store.scripts import Arg
from turnwire.testing import memory_rules as rules
from turnwire.testing.life import write
from turnwire.testing.memory import MemoryTurn
from turnwire.testing.memory_branches import woken
from turnwire.testing.memory_claims import MemoryClaims
from turnwire.testing.memory_losses import behind, steps_behind
from turnwire.testing.memory_suspects import note_company


class MemoryAttempts(MemoryClaims):
    """The writes that an attempt makes."""

    async def append_many(self, appends: Sequence[tuple[Claimed, int, Sequence[bytes]]]) -> list[Exception | None]:
        """See AttemptWrites."""
        return [await self._appended(*append) for append in appends]

    async def _appended(self, claimed: Claimed, seq: int, events: Sequence[bytes]) -> Exception | None:
        try:
            await self.append(claimed, seq, events)
        except TurnwireError as error:
            return error
        return None

    @write
    async def append(self, claimed: Claimed, seq: int, events: Sequence[bytes]) -> None:
        """One append.

        Raises:
            AttemptFenced: the turn is not this attempt's any more.
            LogBehind: the log lacks events before `seq`.
        """
        turn = self.memory.turn(claimed.key)
        held = turn is not None and turn.holder(self.memory.now_ms) == claimed.token
        if turn is None or not (held or rules.runs(turn, claimed.attempt, claimed.token)):
            raise AttemptFenced("the turn is not this attempt's any more")
        behind(turn, seq)
        rules.add_events(self.memory, claimed.key, turn, Cursor(claimed.attempt, seq), events)

    @write
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
        """See AttemptWrites."""
        turn = self._fenced(claimed)
        behind(turn, next_seq)
        steps_behind(turn, known)
        turn.steps[step.index] = msgspec.json.encode(step)
        turn.fields["lease_end"] = str(self.memory.now_ms + self.settings.lease_ms)
        if number > int(turn.fields.get("checkpoints", "0")):
            turn.fields["checkpoints"] = str(number)
        if step.is_answer:
            turn.fields["answered"] = "1"
        turn.history = history if turn.history is None and history else turn.history
        used = b"" if step.usage is None else encode_progress(claimed.attempt, step.usage)
        rules.keep_progress(turn, step.cursor if step.status == "completed" else "", used)

    def _fenced(self, claimed: Claimed) -> MemoryTurn:
        turn = self.memory.turn(claimed.key)
        return rules.fence(self.memory, turn, claimed.attempt, claimed.token, self.settings.lease_ms)

    @write
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
        """See AttemptWrites."""
        memory, key, attempt = self.memory, claimed.key, claimed.attempt
        session, turn = memory.session(key.session), memory.turn(key)
        if session is None or turn is None or not self._is_last(turn, claimed):
            raise AttemptFenced("the lease of this attempt was lost")
        if turn.status == "running":
            behind(turn, seq)
            steps_behind(turn, known)
            rules.add_events(memory, key, turn, Cursor(attempt, seq), events)
            if step is not None:
                turn.steps[step.index] = msgspec.json.encode(step)
            code = as_text(fields.get("error_code", ""))
            rules.add_row(memory, session, turn, attempt, status.value, code, used)
            texts = {name: as_text(value) for name, value in fields.items()}
            rules.close_turn(memory, session, turn, key.index, status.value, texts, self.settings.retention_ms)
        elif turn.status != status.value:
            raise AttemptFenced("the lease of this attempt was lost")
        return Settled(woken(session, turn), turn.ledger.get(attempt, b""))

    def _is_last(self, turn: MemoryTurn, claimed: Claimed) -> bool:
        """Return whether the turn is still this attempt's: no later attempt has come, and no other has the lease."""
        mine = turn.attempt == claimed.attempt and f"{turn.fields.get('worker')}#{claimed.attempt}" == claimed.token
        return mine and turn.holder(self.memory.now_ms) in (None, claimed.token)

    async def renew_many(self, attempts: Sequence[Claimed]) -> list[bool | Exception]:
        """See AttemptWrites."""
        return [await self._renewed(claimed) for claimed in attempts]

    async def _renewed(self, claimed: Claimed) -> bool | Exception:
        try:
            return await self.renew(claimed)
        except TurnwireError as error:
            return error

    @write
    async def renew(self, claimed: Claimed) -> bool:
        """Extend one lease. Returns True if somebody wants the turn cancelled.

        Raises:
            AttemptFenced: the lease was lost.
        """
        turn = self._fenced(claimed)
        turn.fields["lease_end"] = str(self.memory.now_ms + self.settings.lease_ms)
        return "cancel_requested" in turn.fields

    @write
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
        """See AttemptWrites."""
        memory, key, attempt = self.memory, claimed.key, claimed.attempt
        turn = memory.turn(key)
        waits = turn is not None and turn.status == "suspended" and turn.fields.get("awaiting") == signal
        if turn is not None and waits and f"{turn.fields.get('worker')}#{turn.attempt}" == claimed.token:
            return GivenUp(turn.ledger.get(attempt, b""))
        turn = self._fenced(claimed)
        behind(turn, seq)
        steps_behind(turn, known)
        if signal in turn.signals:
            return msgspec.json.decode(turn.signals[signal], type=Signal)
        rules.add_events(memory, key, turn, Cursor(attempt, seq), [event])
        turn.fields |= {
            "status": "suspended",
            "awaiting": signal,
            "stands": f"{attempt}-{seq}",
            "updated_at": str(memory.now_ms),
        }
        if timeout_ms is not None:
            turn.fields["deadline"] = str(memory.now_ms + timeout_ms)
        turn.history = history if turn.history is None and history else turn.history
        turn.lease = None
        return GivenUp(rules.add_row(memory, memory.made(key.session), turn, attempt, "suspended", "", used))

    @write
    async def rewind(self, claimed: Claimed, after: str, used: bytes = b"") -> Rewound:
        """See AttemptWrites."""
        memory, key, attempt = self.memory, claimed.key, claimed.attempt
        new_attempt, new_token = attempt + 1, f"{claimed.worker}#{attempt + 1}"
        turn = memory.turn(key)
        if turn is None or turn.attempt != new_attempt or turn.holder(memory.now_ms) != new_token:
            turn = self._fenced(claimed)
            rules.delete_after(turn, Cursor.parse(after))
            event = rules.resumed(new_attempt, after, "diverged")
            rules.add_events(memory, key, turn, Cursor(new_attempt, turn.next_seq), [event])
            rules.add_row(memory, memory.made(key.session), turn, attempt, "diverged", "", used)
            lease_end = memory.now_ms + self.settings.lease_ms
            turn.fields |= {"attempt": str(new_attempt), "attempt_at": str(memory.now_ms), "lease_end": str(lease_end)}
            turn.lease = new_token, lease_end
        again = msgspec.structs.replace(claimed, attempt=new_attempt, next_seq=turn.next_seq)
        return Rewound(again, turn.ledger.get(attempt, b""))

    @write
    async def handover(self, claimed: Claimed, used: bytes = b"", reason: GiveBackReason = "handover") -> bytes:
        """See AttemptWrites."""
        memory, key, attempt = self.memory, claimed.key, claimed.attempt
        turn = memory.turn(key)
        if turn is None:
            return b""
        if turn.status != "running" or not self._is_last(turn, claimed):
            row = turn.ledger.get(attempt, b"")
            return row if b'"outcome":"handover"' in row else b""
        row = rules.add_row(memory, memory.made(key.session), turn, attempt, "handover", "", used)
        turn.fields |= {"status": "queued", "resume_reason": reason, "updated_at": str(memory.now_ms)}
        turn.lease = None
        return row

    @write
    async def mingle(self, keys: Sequence[TurnKey], worker: str) -> None:
        """See AttemptWrites."""
        for turn in map(self.memory.turn, keys):
            if turn is not None and (turn.status, turn.fields.get("worker")) == ("running", worker):
                rules.remove(turn.fields, "company")

    @write
    async def free(
        self, keys: Sequence[TurnKey], worker: str, company: int, *, elsewhere: int = 0, persists: bool = False
    ) -> None:
        """See AttemptWrites."""
        for turn in map(self.memory.turn, keys):
            if turn is None:
                continue
            if persists:
                note_company(turn, "persist_company", company, elsewhere)
                continue
            token, holder = f"{worker}#{turn.attempt}", turn.holder(self.memory.now_ms)
            if (turn.status, turn.fields.get("worker")) == ("running", worker) and holder in (None, token):
                note_company(turn, "company", company, elsewhere)
            if (holder or "").startswith(f"{worker}#"):
                turn.lease = None


def as_text(value: Arg) -> str:
    """Return the value as Redis would give it back."""
    return value.decode() if isinstance(value, bytes) else str(value)
