"""Every error that Turnwire raises on purpose. Each has a code for the wire, and says whether asking again can help.

TurnwireError
├── BadRequest             the request itself is wrong, and will be wrong the next time
├── InvalidInput           the request is well-formed, but a value is not allowed
│   ├── UnknownModel       there is no such model, or the tenant may not ask it
│   └── UnstorableValue    a value cannot be sent to Redis, for example text with half a surrogate pair
├── NotFound               there is no such turn, session or page
├── TooLarge               a body, an event or a log is over its limit
├── CursorGone             the cursor points to events that are no longer there
├── InputMismatch          this turn, or this Idempotency-Key, was used before with other input
├── UnknownParent          the session has no earlier turn with the index that `parent` names
├── LeaseHeld              the turn is in progress and the caller asked not to attach
├── SessionBusy            an earlier turn of the session is in progress and the caller asked not to wait
├── TurnEnded              the signal is for a turn that has ended
├── RecordUnreadable       this version cannot read what is stored; a newer version, or an operator, can help
│   └── ContentUnreadable  the key that encrypts a turn's content is missing, or the content was changed
├── SignalLimit            the turn has as many signals, or bytes of them, as it may have
├── RateLimited            the tenant, or the key, sends too many requests
├── OpenTurnsLimit         the tenant has as many open turns as it may have
├── SessionLimit           the tenant has as many sessions as it may have
├── TailLimit              the tenant follows as many turns as it may
├── QueueFull              too many turns wait already
├── TurnLimit              the session has as many turns as it may have
├── StoreUnavailable       Redis did not answer: the outcome is unknown, and the same request may be sent again
├── SettingsError          the process cannot start with this environment
├── AttemptFenced          the attempt does not own the turn any more and must write nothing; products never see it
│   └── StoreLost          the store has lost more of the attempt than its worker can write again
├── AttemptStopped         the attempt is being stopped and takes no more events; products never see it
├── StartupError           a product could not start, so its worker stops        (worker/products.py)
├── IndexMoved             the session's next index has changed meanwhile        (shared/store/scripts.py)
├── LogBehind              the store has lost events of a running attempt        (shared/store/scripts.py)
├── StepsBehind            the store has lost steps of a running attempt         (shared/store/scripts.py)
├── Unauthenticated        the request has no valid credentials                  (api/access/errors.py)
├── Forbidden              the credentials do not allow this                     (api/access/errors.py)
├── KeysUnavailable        the identity provider's keys cannot be fetched        (api/access/errors.py)
├── MethodNotAllowed       the path does not allow this method                   (api/edge/problems.py)
├── NotAcceptable          none of the wanted formats can be sent                (api/edge/problems.py)
├── UnsupportedMediaType   the body is not JSON                                  (api/edge/problems.py)
├── ForeignPage            a page of another site may not send this              (api/edge/problems.py)
├── UnknownHost            the request is for another host                       (api/edge/problems.py)
├── RequestTimeout         the request did not arrive in time                    (api/edge/problems.py)
├── HeadTooLarge           the request line and headers are over their limit     (api/edge/problems.py)
├── Draining               this process stops and takes no new requests          (api/edge/problems.py)
└── TurnFailure            ends a turn as failed; `code` and `retryable` go into its `error` event
    ├── ProducerError      the product's code raised, or yielded something that is not an event
    ├── HistoryError       the product's hook `history` failed                   (worker/turn/history.py)
    ├── RedactError        the product's hook `redact` failed                    (worker/turn/redaction.py)
    ├── DivergenceError    the producer asked for another step than before       (worker/turn/step_errors.py)
    │   └── InputDriftError        it asked for the same step with other input   (worker/turn/step_errors.py)
    ├── StepResultError    a step's result, or its input, is not JSON            (worker/turn/step_errors.py)
    ├── MisplacedStepError a hook asked for something that its place forbids     (worker/turn/step_errors.py)
    ├── NestedStepError    the work of a step asked for another step             (worker/turn/step_errors.py)
    ├── SignalTimeoutError the signal that a turn waited for did not come        (worker/turn/step_errors.py)
    ├── UnknownModelError  the turn's model may not be asked                     (worker/backends/errors.py)
    └── BackendTransportError      the model server could not be reached         (worker/backends/errors.py)
        ├── BackendTruncatedError  the answer broke off                          (worker/backends/errors.py)
        ├── BackendReportedError   the answer itself reported an error           (worker/backends/errors.py)
        └── BackendProtocolError   the answer is not in the protocol             (worker/backends/errors.py)

Errors without a file live here. The test kit has its own tree under `WrongUse` (turnwire/testing/errors.py).

Messages reach clients: they never name hosts, pids or keys.
"""

from typing import ClassVar, Final, Self

MAX_CODE_CHARACTERS: Final = 100


def storable(text: object) -> str:
    """Return `str(text)` as plain text that can be stored. Half a surrogate pair, which UTF-8 cannot encode, is U+FFFD.

    Never raises: if `str` fails, the result is the name of the type.
    """
    try:
        plain = str(text)
    except Exception:  # noqa: BLE001 - a product's own __str__ may raise anything
        plain = type(text).__name__
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class TurnwireError(Exception):
    """The base class of all errors that Turnwire raises on purpose.

    Attributes:
        code: the word that stands for the error on the wire.
        retryable: whether the same request may succeed later.
        retry_after_s: after how many seconds it is worth trying again; None if that is not known.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    retry_after_s: float | None = None


class BadRequest(TurnwireError):
    code = "bad_request"


class InvalidInput(TurnwireError):
    code = "invalid"


class UnknownModel(InvalidInput):
    """There is no such model, or the tenant may not ask it: both get the same answer."""

    code = "unknown_model"


class UnstorableValue(InvalidInput):
    """A value cannot be sent to Redis, for example text with half a surrogate pair."""


class NotFound(TurnwireError):
    code = "not_found"


class TooLarge(TurnwireError):
    code = "too_large"


class CursorGone(TurnwireError):
    code = "cursor_gone"


class InputMismatch(TurnwireError):
    code = "input_mismatch"


class UnknownParent(TurnwireError):
    code = "unknown_parent"


class LeaseHeld(TurnwireError):
    code = "lease_held"
    retryable = True
    retry_after_s = 1.0


class SessionBusy(TurnwireError):
    code = "session_busy"
    retryable = True
    retry_after_s = 1.0


class TurnEnded(TurnwireError):
    code = "turn_ended"


class RecordUnreadable(TurnwireError):
    code = "record_unreadable"
    retryable = True
    retry_after_s = 5.0


class ContentUnreadable(RecordUnreadable):
    """The content of a turn cannot be encrypted or decrypted. Everything else of it can be read, and erased."""


class SignalLimit(TurnwireError):
    code = "signal_limit"


class RateLimited(TurnwireError):
    """The tenant, or the API key, sends too many requests.

    Attributes:
        holder: whose bucket is empty: `tenant` or `key`.
        burst: how many requests it may send in `window_s` seconds; both are 0 if that is not known here.
    """

    code = "rate_limited"
    retryable = True

    def __init__(self, after_ms: int, holder: str = "tenant", *, burst: int = 0, window_s: int = 0) -> None:
        """`after_ms`: when the next request may come."""
        super().__init__(f"this {holder} sends too many requests; the next one may come in {after_ms} ms")
        self.retry_after_s = after_ms / 1000
        self.holder = holder
        self.burst = burst
        self.window_s = window_s

    @classmethod
    def told(cls, reason: str) -> Self:
        """Return the error of which a script tells: the ms, and whose bucket is empty."""
        after_ms, holder = reason.split()
        return cls(int(after_ms), holder)


class OpenTurnsLimit(TurnwireError):
    code = "open_turns_limit"
    retryable = True
    retry_after_s = 1.0


class SessionLimit(TurnwireError):
    code = "session_limit"
    retryable = True
    retry_after_s = 60.0


class TailLimit(TurnwireError):
    code = "tail_limit"
    retryable = True
    retry_after_s = 1.0


class QueueFull(TurnwireError):
    code = "queue_full"
    retryable = True
    retry_after_s = 5.0


class TurnLimit(TurnwireError):
    code = "turn_limit"


class StoreUnavailable(TurnwireError):
    code = "store_unavailable"
    retryable = True
    retry_after_s = 1.0


class SettingsError(TurnwireError):
    code = "settings"


class AttemptFenced(TurnwireError):
    """A newer attempt owns the turn, or this attempt has lost its lease.

    This error does not fail the turn, so it is not a TurnFailure. The product's code is cancelled instead, because
    neither `except TurnFailure` nor `except Exception` can swallow a cancellation.
    """

    code = "attempt_fenced"


class StoreLost(AttemptFenced):
    """The store has lost more of the attempt than its worker can write again: the turn goes back to the queue."""


class AttemptStopped(TurnwireError):
    """The attempt is being stopped, so its log takes no more events. Why it is stopped says how the turn ends.

    A product's code never sees it: it is raised where its events are taken, and that closes the product's stream.
    """

    code = "attempt_stopped"


class TurnFailure(TurnwireError):
    """Raise this to end the turn as failed.

    Args:
        message: the text that the client reads. Anything with a `str` will do.
        code: the word for the client's program, at most 100 characters; default: `turn_failed`. Anything with a `str`
            will do, and of an enum member its value is taken.
        retryable: whether asking the turn again may help; default: False.
    """

    code = "turn_failed"

    def __init__(self, message: object, *, code: object = None, retryable: object = None) -> None:
        super().__init__(storable(message))
        if code is not None:
            self.code = storable(getattr(code, "value", code))[:MAX_CODE_CHARACTERS]  # type: ignore[misc]
        if retryable is not None:
            self.retryable = bool(retryable)  # type: ignore[misc]

    @property
    def told_code(self) -> str:
        """The code that clients read."""
        return self.code


class ProducerError(TurnFailure):
    code = "producer_error"
