"""Every error that Turnwire raises on purpose, with its wire code and whether asking again can help.

TurnwireError
├── BadRequest             the request itself is wrong; it never becomes right
├── InvalidInput           the request is well-formed, but a value is not allowed
│   └── UnstorableValue    a value that Redis cannot be sent, such as text with half a surrogate pair
├── NotFound               there is no such turn, session or page
├── TooLarge               a body, event or log is over its limit
├── CursorGone             the cursor points to events that are no longer there
├── InputMismatch          this turn, or this Idempotency-Key, was used with other input
├── LeaseHeld              the turn is in progress and the caller asked not to attach
├── SessionBusy            an earlier turn of the session is in progress and the caller asked not to wait
├── TurnEnded              the signal is for a turn that has ended
├── RecordUnreadable       this version cannot read what is stored; a newer one, or an operator, can mend that
├── SignalLimit            the turn has as many signals, or bytes of them, as it may have
├── QueueFull              too many turns wait already
├── TurnLimit              the session has as many turns as it may have
├── StoreUnavailable       Redis did not answer: the outcome is unknown, the same request may be sent again
├── SettingsError          the process cannot start with this environment
├── AttemptFenced          the attempt does not own the turn any more: it must write nothing; products never see it
├── IndexMoved             the session has another next index by now             (shared/store/scripts.py)
├── MethodNotAllowed       the path does not allow this method                   (api/edge/problems.py)
├── NotAcceptable          none of the wanted formats can be sent                (api/edge/problems.py)
├── UnsupportedMediaType   the body is not JSON                                  (api/edge/problems.py)
├── Draining               this process stops and takes no new requests          (api/edge/problems.py)
└── TurnFailure            ends a turn as failed; `code` and `retryable` go into its `error` event
    ├── ProducerError      the product's code raised, or yielded something that is not an event
    ├── DivergenceError    the producer asked for another step than before       (worker/turn/step_errors.py)
    │   └── InputDriftError        the same step, but with other input           (worker/turn/step_errors.py)
    ├── StepResultError    a step's result, or its input, is not JSON            (worker/turn/step_errors.py)
    ├── MisplacedStepError a signal in a later hook, a step after the producer   (worker/turn/step_errors.py)
    ├── NestedStepError    the work of a step asked for another step             (worker/turn/step_errors.py)
    ├── SignalTimeoutError the signal that a turn waited for did not come        (worker/turn/step_errors.py)
    └── BackendTransportError      the model server could not be reached         (worker/backends/errors.py)
        ├── BackendTruncatedError  the answer broke off                          (worker/backends/errors.py)
        ├── BackendReportedError   the answer itself reported an error           (worker/backends/errors.py)
        └── BackendProtocolError   the answer is not in the protocol             (worker/backends/errors.py)

Errors without a file live here. The test kit has its own tree under `WrongUse` (turnwire/testing/errors.py).

Messages reach clients: they never name hosts, pids or keys.
"""

from typing import ClassVar, Final

MAX_CODE_CHARACTERS: Final = 100


def storable(text: object) -> str:
    """The text of anything; half a surrogate pair, which UTF-8 has no form for, becomes U+FFFD."""
    try:
        plain = str(text)
    except Exception:  # noqa: BLE001 - a product's own __str__ may raise anything
        plain = type(text).__name__
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class TurnwireError(Exception):
    """The base of all of them.

    `code` is the word on the wire, `retryable` says whether the same request may succeed later,
    `retry_after_s` (seconds) says when, if known.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    retry_after_s: float | None = None


class BadRequest(TurnwireError):
    code = "bad_request"


class InvalidInput(TurnwireError):
    code = "invalid"


class UnstorableValue(InvalidInput):
    """A value that Redis cannot be sent, such as text with half a surrogate pair."""


class NotFound(TurnwireError):
    code = "not_found"


class TooLarge(TurnwireError):
    code = "too_large"


class CursorGone(TurnwireError):
    code = "cursor_gone"


class InputMismatch(TurnwireError):
    code = "input_mismatch"


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


class SignalLimit(TurnwireError):
    code = "signal_limit"


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
    """A newer attempt owns the turn, or the lease was lost.

    It does not fail the turn, so it is no TurnFailure. A product's code gets a cancellation instead of it, which
    neither `except TurnFailure` nor `except Exception` can swallow.
    """

    code = "attempt_fenced"


class TurnFailure(TurnwireError):
    """Ends a turn as failed. `code` may be given per instance: a failure of the product has its own words.

    A product may give anything as message and code. They become plain text that can be stored and sent.
    """

    code = "turn_failed"

    def __init__(self, message: object, *, code: object = None, retryable: object = None) -> None:
        super().__init__(storable(message))
        if code is not None:
            self.code = storable(getattr(code, "value", code))[:MAX_CODE_CHARACTERS]  # type: ignore[misc]
        if retryable is not None:
            self.retryable = bool(retryable)  # type: ignore[misc]


class ProducerError(TurnFailure):
    code = "producer_error"
