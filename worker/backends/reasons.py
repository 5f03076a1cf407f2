"""Says why a model server refused, from its status and its words. It does no I/O."""

import re
from typing import Any, Final, Literal, TypeAlias

from turnwire.worker.backends.chunk import fields_of

Reason = Literal[
    "auth", "quota", "rate_limit", "context_length", "model_not_found", "overloaded", "content_filter"
]  # fmt: skip

_Forms: TypeAlias = tuple[tuple[Reason, re.Pattern[str]], ...]

PASSING: Final = frozenset({"rate_limit", "overloaded"})  # the reasons that may be gone a little later

# The first form that fits decides. `words` are the codes and types that the server gave, in lower case. Its message is
# looked at last, because messages of different servers use the same words for different things.
_WORDS: Final[_Forms] = (
    ("context_length", re.compile(r"context_length|context_window|exceed_context_size|prompt_too_long")),
    ("content_filter", re.compile(r"content_filter|content_policy|responsibleai|data_inspection|moderation")),
    ("quota", re.compile(r"insufficient_quota|billing|insufficient_(balance|credits|funds)|payment_required")),
    ("model_not_found", re.compile(r"model_?not_?found|unknown_model|invalid_model|model_not_exist")),
    ("auth", re.compile(r"authentication|permission|invalid_api_key|unauthori[sz]ed|unauthenticated|forbidden")),
    ("rate_limit", re.compile(r"rate_?limit|resource_exhausted|too_many_requests|throttl")),
    ("overloaded", re.compile(r"overloaded|unavailable|capacity|server_busy")),
)
_MESSAGES: Final[_Forms] = (
    (
        "context_length",
        re.compile(r"context (length|window|size)|prompt is too long|input is too long|maximum model len"),
    ),
    ("content_filter", re.compile(r"content (management )?policy|content filter|flagged by")),
    ("quota", re.compile(r"insufficient (balance|credit|fund|quota)|out of credit|credit balance|negative balance")),
    ("model_not_found", re.compile(r"model\b.{0,200}\b(not found|does not exist|not exist)|unknown model")),
    (
        "auth",
        re.compile(r"not authenticated|unauthori[sz]ed|api[ _-]?key|invalid (token|credential)|permission denied"),
    ),
    ("overloaded", re.compile(r"overloaded|at capacity")),
)
_STATUSES: Final[dict[int, Reason]] = {
    401: "auth", 402: "quota", 403: "auth", 429: "rate_limit", 503: "overloaded", 529: "overloaded",
}  # fmt: skip
_LASTING: Final = re.compile(r"invalid|bad_?request|not_?found|too_large|validation|unsupported|unprocessable")


def reason_of(status: int, error: Any, text: str) -> Reason | None:
    """Return why the server refused, or None if that cannot be told.

    Args:
        status: the HTTP status, or the one that the error itself names; 0: there is none.
        error: the decoded error; anything but an object is ignored.
        text: the whole text of the error.
    """
    found = _find(_WORDS, words_of(error)) or _find(_messages_for(status), text.lower()[:2048])
    return found or _STATUSES.get(status)


def words_of(error: Any) -> str:
    """Return the codes and types that an error gives, in lower case."""
    fields = fields_of(error)
    values = (fields.get(name) for name in ("code", "type", "status", "error_type"))
    return " ".join(value for value in values if isinstance(value, str)).lower()


def status_of(error: Any) -> int:
    """Return the HTTP status that an error names, or 0."""
    fields = fields_of(error)
    for name in ("status_code", "code", "status", "http_code"):
        value = str(fields.get(name) or "")
        if len(value) == 3 and value.isdecimal():
            return int(value)
    return 0


def lasts(error: Any) -> bool:
    """Whether the error's own words say that the same request will always be refused."""
    return bool(_LASTING.search(words_of(error)))


def _messages_for(status: int) -> _Forms:
    """Return the forms that a message may have. A busy server's message may name a key or a model, too."""
    if status == 429:
        return tuple(form for form in _MESSAGES if form[0] == "quota")
    if status >= 500:
        return tuple(form for form in _MESSAGES if form[0] == "context_length")
    return _MESSAGES


def _find(forms: _Forms, text: str) -> Reason | None:
    return next((reason for reason, form in forms if form.search(text)), None) if text else None
