"""Makes the errors for answers in which the server says, in one way or another, that there is no answer. No I/O."""

import json
import re
from typing import Any, Final

from turnwire.worker.backends.chunk import fields_of
from turnwire.worker.backends.errors import BackendProtocolError, BackendReportedError
from turnwire.worker.backends.reasons import PASSING, Reason, lasts, reason_of, status_of
from turnwire.worker.backends.retry import may_pass

# With these finish reasons, something other than a limit has cut the answer short. Any other word is a proper end.
_BROKEN_OFF: Final = re.compile(r"error|abort|cancel|fail|insufficient|timeout|interrupt|malformed")
# Providers have words of their own for a limit that has cut an answer, for a filter that has, and for a proper end.
_LIMITED: Final = re.compile(r"length|token|limit")
_FILTERED: Final = re.compile(
    r"filter|safety|recitation|prohibited|blocklist|spii|sensitive|guardrail|refusal|moderation|policy|violation"
)
_ENDED: Final = re.compile(r"stop|eos|end|complete|done|finish|tool|function")


def refusal_reason(status: int, body: str) -> Reason | None:
    """Return why a server refused a request, from the status and the body of its response."""
    fields = decoded(body)
    error = fields.get("error") or fields.get("message")
    return reason_of(status, error if isinstance(error, dict) else fields, body)


def reported(kind: str, error: Any, data: str) -> BackendReportedError:
    """Return the error for an event in which the server reports one. `error`: that part of the event, decoded."""
    fields = decoded(data)
    said = error if isinstance(error, dict) else fields | fields_of(fields.get("message"))
    status = status_of(said)
    reason = reason_of(status, said, data)
    if reason is not None:
        retryable = reason in PASSING
    elif status:
        retryable = may_pass(status)
    else:
        retryable = not lasts(said)
    message = "the model server reported an error in its answer"
    return BackendReportedError(message, kind=kind, status=200, retryable=retryable, body=data, reason=reason)


def withheld(kind: str, finish_reason: str) -> BackendReportedError | None:
    """Return the error for an answer that ended before it began, for this reason; None if it may be empty."""
    word = finish_reason.lower()
    if _FILTERED.search(word):
        message = "the model server's content filter withheld the answer"
        return BackendReportedError(message, kind=kind, status=200, retryable=False, reason="content_filter")
    if _LIMITED.search(word) or _ENDED.search(word):
        return None
    message = f"the model server gave no answer ({finish_reason[:40]})"
    return BackendReportedError(message, kind=kind, status=200, retryable=True)


def is_cut(finish_reason: str) -> bool:
    """Whether a limit or a filter has cut the answer, so that its last tool call may be half a call."""
    word = finish_reason.lower()
    return bool(_LIMITED.search(word) or _FILTERED.search(word))


def broken_off(kind: str, finish_reason: str, data: str) -> BackendReportedError | None:
    """Return the error for a finish reason that is no end of an answer; None if it is one."""
    if not _BROKEN_OFF.search(finish_reason.lower()):
        return None
    message = f"the model server broke off its answer ({finish_reason[:40]})"
    return BackendReportedError(message, kind=kind, status=200, retryable=True, body=data)


def has_no_answer(kind: str, data: str) -> BackendProtocolError:
    """Return the error for a 2xx response that never had a choice. `data`: its first event, or ''."""
    fields = decoded(data)
    reason = reason_of(status_of(fields), fields, data)
    # A server that sent nothing but the end has failed. One that speaks another protocol will go on doing so.
    retryable = reason in PASSING or not data
    message = "the model server's response has no answer in it"
    return BackendProtocolError(message, kind=kind, status=200, retryable=retryable, body=data, reason=reason)


def decoded(data: str) -> dict[str, Any]:
    """Return the fields of a JSON object; none if the text is something else."""
    try:
        return fields_of(json.loads(data))
    except (ValueError, RecursionError):
        return {}
