"""The form that every refusal must have: it follows RFC 9457, has a type, and says nothing about internals."""

import re

import httpx

WORDS = {
    400: {"bad_request"},
    403: {"foreign_page"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    406: {"not_acceptable"},
    408: {"request_timeout"},
    409: {"lease_held", "record_unreadable", "session_busy", "signal_limit", "turn_ended"},
    410: {"cursor_gone"},
    413: {"too_large"},
    415: {"unsupported_media_type"},
    421: {"unknown_host"},
    422: {"invalid", "input_mismatch", "unknown_parent", "turn_limit"},
    429: {"queue_full", "rate_limited", "open_turns_limit", "session_limit", "tail_limit"},
    431: {"head_too_large"},
}
INSIDES = re.compile(r"Traceback|redis|(turn|lease|events|steps):chat:|\.py\b|0x[0-9a-f]{6}|#\d+$", re.IGNORECASE)


def check_problem(response: httpx.Response, status: int | set[int], code: str | None = None) -> dict[str, object]:
    """Assert that this is a refusal with this status (and code), and return it."""
    allowed = {status} if isinstance(status, int) else status
    assert response.status_code in allowed, (response.status_code, response.text[:500])
    check_form(response.status_code, response.headers, response.json())
    document: dict[str, object] = response.json()
    if code is not None:
        assert document["code"] == code, document
    return document


def check_form(status: int, headers: "httpx.Headers", document: dict[str, object]) -> None:
    assert headers["content-type"] == "application/problem+json"
    assert headers["cache-control"] == "no-store"
    assert set(document) >= {"type", "title", "status", "detail", "code", "retryable"}, document
    assert document["status"] == status
    assert isinstance(document["retryable"], bool)
    assert all(isinstance(document[word], str) and document[word] for word in ("type", "title", "detail", "code"))
    assert document["code"] in WORDS[status], document
    assert not INSIDES.search(str(document["detail"])), document
