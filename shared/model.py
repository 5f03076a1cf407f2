"""The records of a turn: a client's request, what Redis keeps, and what the turn used. Times are Redis's, in ms."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Literal, Self

import msgspec

from turnwire.shared.content import Content
from turnwire.shared.errors import RecordUnreadable
from turnwire.shared.keys import TurnKey
from turnwire.shared.lanes import DEFAULT_LANE, Lane, Priority
from turnwire.shared.lifecycle import TERMINAL_STATES, TurnState
from turnwire.shared.usage import Usage

_UNREADABLE = (msgspec.MsgspecError, ValueError, LookupError)  # text that is not UTF-8 is a ValueError

Persist = Literal["none", "pending", "done"]


class Readable:
    """A context manager that is no generator, because every claim of a turn enters it twice; see `readable`."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, _UNREADABLE):
            raise RecordUnreadable(f"{self._name} cannot be read by this version") from error


def readable(name: str) -> Readable:
    """Raise RecordUnreadable for every error of the block, which decodes something stored. `name` says what it is."""
    return Readable(name)


class ModelCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of a model, as a product reports it.

    Attributes:
        model: the name of the model, as the price table spells it.
        tokens_in, tokens_out: None if the model server did not report them. Do not report a zero that nobody counted.
        finish_reason: the model server's own word, or None.
        cached_tokens, reasoning_tokens: how many of `tokens_in` were cached, and of `tokens_out` reasoning, or None.
        partial: whether the call broke off, so that it may have used more than it had reported.
        cost_nanos: what the call really cost, in billionths of `currency`; None: as much as the price table says.
        currency: three capital letters; None stands for the currency of the price table.
    """

    model: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    finish_reason: str | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_nanos: int | None = None
    currency: str | None = None
    partial: bool = False


class TurnError(msgspec.Struct, frozen=True, omit_defaults=True):
    """The reason why a turn failed, with the words of its `error` event."""

    code: str
    message: str
    retryable: bool
    retry_after_ms: int | None = None  # how long a model server asks to wait before it is asked again


class TurnRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A turn as its hash holds it, and as `GET …/turns/{i}` shows it."""

    run_id: str
    session_id: str
    turn_index: int
    tenant_id: str
    status: TurnState
    attempt: int
    message: Content
    project: str | None = None
    domain: str | None = None
    model: str | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    request_id: str | None = None  # of the HTTP request that asked for the turn
    callback: str | None = None
    parent: int | None = None  # the index of the turn that it follows; -1: none; None: not decided, it has not run yet
    created_at: int
    started_at: int | None = None
    updated_at: int
    completed_at: int | None = None
    final_text: str | None = None
    partial_text: str | None = None  # of a turn that failed or was cancelled: the text that it had streamed
    error: TurnError | None = None
    persist: Persist = "none"
    usage: Usage | None = None
    awaiting: str | None = None  # the key of the signal that it is suspended for
    pool: str = DEFAULT_LANE.pool
    priority: Priority = DEFAULT_LANE.priority

    @property
    def lane(self) -> Lane:
        """Which workers take the turn, and how soon."""
        return Lane(self.pool, self.priority)

    @property
    def terminal(self) -> bool:
        """Whether the turn has ended. Nothing more happens to it, unless a client asks for it again."""
        return self.status in TERMINAL_STATES

    @classmethod
    def from_hash(cls, key: TurnKey, fields: Mapping[bytes, bytes]) -> Self | None:
        """Read the turn hash. Returns None if there is no such turn.

        Raises:
            RecordUnreadable: another version wrote it, or somebody changed it by hand.
        """
        if b"status" not in fields:
            return None
        with readable(f"the record of turn {key.run_id}"):
            return cls._read(key, fields)

    @classmethod
    def _read(cls, key: TurnKey, fields: Mapping[bytes, bytes]) -> Self:
        text: dict[str, Any] = {name.decode(): value.decode() for name, value in fields.items()}
        for name in ("metadata", "options"):
            if name in text:
                text[name] = msgspec.json.decode(text[name])
        if "content" in text:
            text["message"] = msgspec.json.decode(text["content"])
        if "error_code" in text:
            wait_ms = int(text["retry_after_ms"]) if "retry_after_ms" in text else None
            text["error"] = TurnError(text["error_code"], text["error_message"], text["retryable"] == "1", wait_ms)
        if "model_calls" in text:
            text["usage"] = Usage.from_fields(text)
        named = {
            "run_id": key.run_id,
            "session_id": key.session.session,
            "turn_index": key.index,
            "tenant_id": key.session.tenant,
        }
        return msgspec.convert(text | named, cls, strict=False)


ANSWER: Final = "turn"  # the intent of the last step: the producer as a whole, whose result is the answer
TRANSFORM: Final = "transform_final_text"  # the intent of the step that may change the answer


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint: the result of a step, or the reason why it failed."""

    status: Literal["completed", "failed"] = "failed"
    cursor: str = ""  # the last event that this step covers
    usage: Usage | None = None  # what its attempt had used when the step ended
    index: int | str  # its position: a number for a step of the producer or of the worker, else `<hook>/…`
    intent: str
    kind: str
    input_hash: str | None = None
    attempts: int = 1
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: dict[str, Any] | None = None
    started_at: int = 0
    completed_at: int = 0

    @property
    def is_answer(self) -> bool:
        """Whether this record says that the producer has ended; its result is the answer then."""
        return self.intent == ANSWER and self.status == "completed"

    @property
    def decides_message(self) -> bool:
        """Whether its result decides which text the product keeps. It must not be lost once the product has it."""
        return self.is_answer or (self.intent == TRANSFORM and self.status == "completed")


class Claimed(msgspec.Struct, frozen=True):
    """The right to write to a turn. `attempt` is the fencing token, `token` the value of the lease."""

    key: TurnKey
    attempt: int
    worker: str
    next_seq: int
    at_ms: int  # Redis time of the claim
    first_event: bytes  # the event that the claim appended: `session.run.started` or `session.run.resumed`
    record: TurnRecord
    steps: dict[int | str, StepRecord]
    rows: dict[int, bytes]  # the ledger rows of the earlier attempts, by attempt
    history: bytes | None = None  # the messages that an earlier attempt saw, as JSON; None if it has stored no step
    crashes_alone: int = 0  # how many workers died while they ran the turn and nothing else
    checkpoints: int = 0  # number of the last checkpoint of all attempts
    cut: list[bytes] = []  # the events of a dead attempt that the claim deleted from the log, oldest first
    waited_ms: int | None = None  # for this claim; since the last renewal, if a worker has died; None: not known

    @property
    def token(self) -> str:
        """`<worker id>#<attempt>`, as claim.lua and rewind.lua write it."""
        return f"{self.worker}#{self.attempt}"

    @classmethod
    def of_ended(cls, key: TurnKey, record: TurnRecord) -> Self:
        """Return a stand-in for the last attempt of an ended turn, for hooks that follow. It cannot write anything."""
        return cls(
            key=key, attempt=record.attempt, worker="", next_seq=0, at_ms=record.updated_at, first_event=b"",
            record=record, steps={}, rows={},
        )  # fmt: skip


class Held(msgspec.Struct, frozen=True):
    """Another worker holds the turn's lease for `ms` more milliseconds."""

    ms: int


class Waits(msgspec.Struct, frozen=True):
    """The turn may run when the earlier turn `index` of its branch has ended. `interrupt`: that one is cancelled."""

    index: int
    interrupt: bool


class Unserved(msgspec.Struct, frozen=True):
    """The worker has no hooks for the turn's `project` ('': it names none). `waited_ms`: since it changed last."""

    project: str
    waited_ms: int


class Paused(msgspec.Struct, frozen=True):
    """The turn does not start, because an operator has paused the tenant or project with this name.

    `since_us`: since when the turn waits.
    """

    kind: Literal["tenant", "project"]
    name: str
    since_us: int


class Suspended(msgspec.Struct, frozen=True):
    """The turn waits for a signal."""

    rows: dict[int, bytes]  # the turn's ledger rows, by attempt


class Signal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A signal as it is stored: its payload, or the note that its time ran out. Whichever came first was stored."""

    emitted_at: int  # Redis time, ms
    payload: msgspec.Raw = msgspec.Raw(b"null")
    timed_out: bool = False


class Ended(msgspec.Struct, frozen=True):
    """The turn has ended, so there is nothing to run. `woken`: the session's turns that may be able to run now."""

    woken: list[int] = []
    rows: dict[int, bytes] = {}  # the turn's ledger rows, by attempt
    record: TurnRecord | None = None  # None: the turn is completed
    events: list[bytes] = []  # the last events, if a script has ended the turn, so that no worker has shown them
