"""What a session's turns should be after each call of the store: a plain model in memory, no Redis, no time.

Each method does what the contract of its script says and returns what TurnStore should return; what the store should
refuse raises the same error here, and changes nothing.
"""

from typing import Any

from tests.model.model_turn import TIMED_OUT, ModelTurn, cancel_message, last_events, resumed, started
from turnwire.shared.errors import AttemptFenced, InputMismatch, LeaseHeld, NotFound, SessionBusy, TurnEnded, TurnLimit
from turnwire.shared.events import Cursor
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import TurnRequest
from turnwire.shared.store.scripts import IndexMoved

QUEUED, RUNNING, SUSPENDED = TurnState.QUEUED, TurnState.RUNNING, TurnState.SUSPENDED
FAILED, CANCELLED = TurnState.FAILED, TurnState.CANCELLED


class SessionModel:
    """The turns of one session."""

    def __init__(self, session: str, max_attempts: int, max_turns: int) -> None:
        self._session = session
        self._max_attempts = max_attempts
        self._max_turns = max_turns
        self._submits = 0
        self.forget()

    def forget(self) -> None:
        self.turns: dict[int, ModelTurn] = {}
        self.next_index = 0
        self.index_of_key: dict[str, int] = {}
        self.exists = False

    @property
    def open(self) -> list[int]:
        return sorted(index for index, turn in self.turns.items() if not turn.terminal)

    @property
    def next_open(self) -> int | None:
        return self.open[0] if self.open else None

    def _turn(self, index: int) -> ModelTurn:
        if index not in self.turns:
            raise AttemptFenced("")
        return self.turns[index]

    # -- the client

    def submit(self, index: int, request: TurnRequest) -> tuple[str, int]:
        turn = self.turns.get(index)
        if turn and turn.request.message != request.message:
            raise InputMismatch
        if turn and turn.state is TurnState.COMPLETED:
            return "replay", turn.attempt
        if turn and not turn.terminal:
            if request.on_busy == "reject":
                raise LeaseHeld
            turn.mark = self._new_mark()
            return "attached" if turn.state is QUEUED else "running", turn.attempt
        if request.on_busy == "reject" and self.open:
            raise SessionBusy
        if turn is None and len(self.turns) >= self._max_turns:
            raise TurnLimit
        self.exists = True
        if turn is None:
            turn = self.turns[index] = ModelTurn(request)
            self.next_index = max(self.next_index, index + 1)
            turn.mark = self._new_mark()
            return "created", 0
        turn.request, turn.state, turn.crashes, turn.resume_reason = request, QUEUED, 0, "retry"
        turn.final_text = turn.error_code = turn.cancel = None
        turn.cut()
        turn.mark = self._new_mark()
        return "reopened", turn.attempt

    def submit_next(self, index: int, request: TurnRequest, key: str) -> tuple[str, int]:
        if index != self.index_for(key):
            raise IndexMoved(str(self.index_for(key)))
        reply = self.submit(index, request)
        if key and reply[0] == "created":
            self.index_of_key[key] = index
        return reply

    def index_for(self, key: str) -> int:
        return self.index_of_key.get(key, self.next_index)

    def _new_mark(self) -> int:
        self._submits += 1
        return self._submits

    def withdraw(self, index: int, verdict: str, mark: int, events: list[bytes]) -> bool:
        turn = self.turns.get(index)
        if turn is None:
            return verdict == "created"  # it is taken back
        if turn.mark != mark:
            return False
        if turn.state is FAILED:
            return True
        if verdict == "created":
            del self.turns[index]
        else:
            turn.attempt += 1
            turn.add(*events)
            turn.error_code = "queue_full"
            self._close(turn, FAILED)
            turn.mark = mark
        return True

    def cancel(self, index: int, reason: str) -> tuple[str, int | None]:
        turn = self.turns.get(index)
        if turn is None:
            raise NotFound
        if turn.terminal:
            return "ended", None
        if turn.state is RUNNING and turn.lease:
            turn.cancel = reason if turn.cancel is None else turn.cancel
            return "requested", None
        self._open_attempt(index, turn, "cancelled", "")
        self._give_up(turn, "cancelled", cancel_message(reason))
        return "cancelled", self.next_open

    def signal(self, index: int, key: str, payload: bytes) -> tuple[bool, bytes, bool]:
        turn = self.turns.get(index)
        if turn is None:
            raise NotFound
        if key in turn.signals:
            return False, turn.signals[key], turn.state is QUEUED
        if turn.terminal:
            raise TurnEnded
        turn.signals[key] = payload
        if turn.state is SUSPENDED and turn.awaiting == key:
            self._wake(turn)
            return True, payload, True
        return True, payload, False

    # -- the worker

    def claim(self, index: int, worker: str) -> tuple[Any, ...]:
        turn = self.turns.get(index)
        if turn is None:
            return "ended", None
        if turn.state is SUSPENDED and turn.cancel is None:
            return ("suspended",)
        if turn.terminal:
            return "ended", self.next_open
        if turn.lease:
            mine = turn.state is RUNNING and turn.lease == f"{worker}#{turn.attempt}"
            return self._granted(turn) if mine else ("held",)
        if turn.request.on_busy != "concurrent" and self.next_open != index and turn.cancel is None:
            return "waits", self.next_open, turn.request.on_busy == "interrupt"
        reason = turn.resume_reason or "lease_expired"
        if turn.state is RUNNING:
            reason, turn.crashes = "lease_expired", turn.crashes + 1
        self._open_attempt(index, turn, reason, worker)
        if turn.cancel is not None:
            self._give_up(turn, "cancelled", cancel_message(turn.cancel))
        elif turn.crashes >= self._max_attempts:
            message = f"the turn was given up: {turn.crashes} workers died while they ran it"
            self._give_up(turn, "attempts_exhausted", message)
        else:
            turn.lease = f"{worker}#{turn.attempt}"
            return self._granted(turn)
        return "ended", self.next_open

    def append(self, index: int, attempt: int, token: str, events: list[bytes]) -> None:
        turn = self._turn(index)
        turn.must_run(attempt, token)
        turn.add(*events)

    def checkpoint(self, index: int, attempt: int, token: str, step: tuple[int, Cursor | None, bytes]) -> None:
        turn = self._turn(index)
        turn.may_write(attempt, token)
        turn.steps[step[0]] = step[1:]

    def renew(self, index: int, attempt: int, token: str) -> bool:
        turn = self._turn(index)
        turn.may_write(attempt, token)
        return turn.cancel is not None

    def suspend(self, index: int, attempt: int, token: str, key: str, *, limited: bool, event: bytes) -> bytes | None:
        turn = self._turn(index)
        if turn.state is SUSPENDED and turn.is_last(attempt, token) and turn.awaiting == key:
            return None  # repeated
        turn.may_write(attempt, token)
        if key in turn.signals:
            return turn.signals[key]
        turn.add(event)
        turn.state, turn.awaiting, turn.deadline, turn.stands = SUSPENDED, key, limited, turn.log[-1][0]
        turn.overdue, turn.lease = False, None
        return None

    def rewind(self, index: int, attempt: int, token: str, after: Cursor) -> tuple[int, int]:
        turn = self._turn(index)
        if turn.attempt == attempt + 1 and turn.lease == f"{token.rpartition('#')[0]}#{turn.attempt}":
            return turn.attempt, turn.log[-1][0].seq + 1  # repeated
        turn.may_write(attempt, token)
        turn.log = [entry for entry in turn.log if entry[0] <= after]
        turn.attempt += 1
        turn.add(resumed(turn.attempt, after, "diverged"))
        turn.lease = f"{turn.worker}#{turn.attempt}"
        return turn.attempt, turn.log[-1][0].seq + 1

    def handover(self, index: int, attempt: int, token: str) -> None:
        turn = self.turns.get(index)
        try:
            if turn is None:
                return
            turn.may_write(attempt, token)
        except AttemptFenced:
            return
        turn.state, turn.resume_reason, turn.lease = QUEUED, "handover", None

    def settle(
        self, index: int, attempt: int, token: str, state: TurnState, events: list[bytes], fields: dict[str, Any]
    ) -> int | None:
        turn = self._turn(index)
        if turn.state is state and turn.is_last(attempt, token):
            return self.next_open  # repeated
        turn.may_write(attempt, token)
        turn.add(*events)
        for name, value in fields.items():
            setattr(turn, name, value)
        self._close(turn, state)
        return self.next_open

    # -- time, and those who tidy up

    def expire(self, index: int) -> int | None:
        turn = self.turns.get(index)
        if turn is None or turn.state is not SUSPENDED or not turn.deadline:
            return None
        if not turn.overdue:
            return 1  # some time is left
        assert turn.awaiting
        turn.signals.setdefault(turn.awaiting, TIMED_OUT)
        self._wake(turn)
        return 0

    def persisted(self, index: int, text: str | None) -> int:
        turn = self.turns.get(index)
        if turn is None or not turn.terminal or turn.persist != "pending":
            return -1
        turn.persist_tries += 1
        if text is not None:
            turn.persist, turn.final_text = "done", text
        return turn.persist_tries

    def _open_attempt(self, index: int, turn: ModelTurn, reason: str, worker: str) -> None:
        turn.attempt += 1
        if turn.log:
            turn.cut()
            turn.add(resumed(turn.attempt, turn.log[-1][0], reason))
        else:
            turn.add(started(self._session, index, turn.attempt))
        turn.state, turn.worker, turn.mark = RUNNING, worker, 0
        turn.resume_reason = turn.awaiting = None
        turn.deadline = turn.overdue = False

    def _granted(self, turn: ModelTurn) -> tuple[Any, ...]:
        first = next(event for cursor, event in turn.log if cursor.attempt == turn.attempt)
        return "claimed", turn.attempt, turn.log[-1][0].seq + 1, first, sorted(turn.steps)

    def _give_up(self, turn: ModelTurn, code: str, message: str) -> None:
        turn.add(*last_events(self._session, code, message))
        turn.error_code = code
        self._close(turn, CANCELLED if code == "cancelled" else FAILED)

    def _close(self, turn: ModelTurn, state: TurnState) -> None:
        turn.state, turn.lease, turn.cancel, turn.resume_reason = state, None, None, None

    def _wake(self, turn: ModelTurn) -> None:
        turn.state, turn.resume_reason = QUEUED, "signal"
        turn.awaiting, turn.deadline, turn.overdue = None, False, False
