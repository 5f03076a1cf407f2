"""One turn as the model of its session has it, and the events that Turnwire itself writes into its log."""

from dataclasses import dataclass, field

from turnwire.shared.errors import AttemptFenced
from turnwire.shared.events import ERROR, RUN_FAILED, RUN_RESUMED, RUN_STARTED, Cursor, encode_event
from turnwire.shared.lifecycle import TERMINAL, TurnState
from turnwire.shared.model import TurnRequest

TIMED_OUT = b"timed out"  # in the place of a signal's payload


@dataclass
class ModelTurn:
    """One turn: what its keys should hold."""

    request: TurnRequest
    state: TurnState = TurnState.QUEUED
    attempt: int = 0
    crashes: int = 0
    worker: str | None = None
    lease: str | None = None
    log: list[tuple[Cursor, bytes]] = field(default_factory=list)
    steps: dict[int, tuple[Cursor | None, bytes]] = field(default_factory=dict)  # no cursor: it failed
    signals: dict[str, bytes] = field(default_factory=dict)
    awaiting: str | None = None
    deadline: bool = False
    overdue: bool = False
    stands: Cursor | None = None  # the last suspension
    cancel: str | None = None
    resume_reason: str | None = None
    final_text: str | None = None
    error_code: str | None = None
    persist: str | None = None
    persist_tries: int = 0
    mark: int = 0  # of the last submit that may still be taken back; 0: none

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL

    def add(self, *events: bytes) -> None:
        for event in events:
            seq = self.log[-1][0].seq + 1 if self.log else 0
            self.log.append((Cursor(self.attempt, seq), event))

    def cut(self) -> None:
        covered = [self.log[0][0], *(cursor for cursor, _ in self.steps.values() if cursor)]
        stands = max(covered + ([self.stands] if self.stands else []))
        self.log = [entry for entry in self.log if entry[0] <= stands]

    def is_last(self, attempt: int, token: str) -> bool:
        """This was the last attempt, and this worker had it."""
        return (self.attempt, f"{self.worker}#{self.attempt}") == (attempt, token)

    def must_run(self, attempt: int, token: str) -> None:
        if self.state is not TurnState.RUNNING or not self.is_last(attempt, token):
            raise AttemptFenced("")

    def may_write(self, attempt: int, token: str) -> None:
        """The fence; passing it extends the lease."""
        self.must_run(attempt, token)
        if self.lease not in (None, token):
            raise AttemptFenced("")
        self.lease = token


def cancel_message(reason: str) -> str:
    return "the turn was cancelled" + (f": {reason}" if reason else "")


def resumed(attempt: int, after: Cursor, reason: str) -> bytes:
    return encode_event(RUN_RESUMED, {"attempt": attempt, "after": str(after), "reason": reason})


def started(session: str, index: int, attempt: int) -> bytes:
    names = {"sessionId": session, "tenantId": "default", "turnIndex": index}
    return encode_event(RUN_STARTED, {**names, "attempt": attempt})


def last_events(session: str, code: str, message: str) -> list[bytes]:
    """Of a turn that nobody runs: it was cancelled, or given up."""
    failed = encode_event(RUN_FAILED, {"sessionId": session, "message": message, "code": code})
    if code == "cancelled":
        return [failed]
    return [encode_event(ERROR, {"message": message, "code": code, "retryable": False}), failed]
