"""Turns errors into RFC 9457 problem+json. One table maps error classes to HTTP statuses."""

import asyncio
import math
from contextlib import suppress
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from turnwire.api.access.errors import Forbidden, KeysUnavailable, Unauthenticated
from turnwire.api.edge.counted import INTERNAL_CODE, begin_with, count_problem
from turnwire.api.edge.rates import Rate, rate_fields
from turnwire.shared import errors
from turnwire.shared.errors import TurnwireError


class MethodNotAllowed(TurnwireError):
    """The path does not allow the request's method. `allow`: the methods that it allows, joined by commas."""

    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(f"allowed methods: {allow}")
        self.allow = allow


class NotAcceptable(TurnwireError):
    code = "not_acceptable"


class UnsupportedMediaType(TurnwireError):
    code = "unsupported_media_type"


class ForeignPage(TurnwireError):
    """A browser sends this request for a page of another site, which may not do this."""

    code = "foreign_page"


class UnknownHost(TurnwireError):
    """The request is for a host that this server does not serve."""

    code = "unknown_host"


class RequestTimeout(TurnwireError):
    """The client took too long to send its request."""

    code = "request_timeout"
    retryable = True
    retry_after_s = 1.0


class HeadTooLarge(TurnwireError):
    """The request line and the headers, or the trailers, are over their limit."""

    code = "head_too_large"


class Draining(TurnwireError):
    """This process is about to stop. The same request succeeds on another one, or after the restart."""

    code = "draining"
    retryable = True
    retry_after_s = 1.0


CHALLENGE: Final = 'Bearer realm="turnwire"'


class Problem(msgspec.Struct, frozen=True):
    """An error as a client gets it.

    `code` is for programs, `detail` for people. `retryable`: the same request may succeed later.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool


STATUS: Final[dict[type[TurnwireError], tuple[int, str]]] = {
    errors.BadRequest: (400, "Bad request"),
    Unauthenticated: (401, "Not authenticated"),
    Forbidden: (403, "Not allowed"),
    ForeignPage: (403, "Not from a page of another site"),
    errors.NotFound: (404, "Not found"),
    MethodNotAllowed: (405, "Method not allowed"),
    NotAcceptable: (406, "Not acceptable"),
    RequestTimeout: (408, "The request did not arrive in time"),
    errors.LeaseHeld: (409, "The turn is in progress"),
    errors.SessionBusy: (409, "The session is busy"),
    errors.TurnEnded: (409, "The turn has ended"),
    errors.RecordUnreadable: (409, "The record cannot be read"),
    errors.SignalLimit: (409, "The turn has too many signals"),
    errors.CursorGone: (410, "The events no longer exist"),
    errors.TooLarge: (413, "Request body too large"),
    UnsupportedMediaType: (415, "Unsupported media type"),
    UnknownHost: (421, "Unknown host"),
    errors.InvalidInput: (422, "Invalid value"),
    errors.UnknownModel: (422, "No such model"),
    errors.InputMismatch: (422, "Already used with other input"),
    errors.UnknownParent: (422, "No such parent"),
    errors.TurnLimit: (422, "Too many turns in this session"),
    errors.QueueFull: (429, "Too many turns are waiting"),
    errors.RateLimited: (429, "Too many requests"),
    errors.OpenTurnsLimit: (429, "Too many open turns"),
    errors.SessionLimit: (429, "Too many sessions"),
    errors.TailLimit: (429, "Too many open streams"),
    HeadTooLarge: (431, "Request headers too large"),
    errors.StoreUnavailable: (503, "The store is unavailable"),
    KeysUnavailable: (503, "The credentials cannot be checked"),
    Draining: (503, "The server is stopping"),
}


begin_with({INTERNAL_CODE, *(kind.code for kind in STATUS)})


def problem(error: TurnwireError) -> Problem:
    """Return the document for an error. An error that is not in the table is a defect, which the client is not told."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            status, title = STATUS[kind]
            return Problem(_type(error.code), title, status, str(error) or title, error.code, error.retryable)
    return INTERNAL


def problem_response(error: TurnwireError) -> Response:
    """Return the response for an error: the document, and the headers that belong to its status."""
    count_problem(error)
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, errors.RateLimited) and error.burst:
        rate = Rate(error.burst, error.window_s, 0, error.retry_after_s or 0, error.holder)
        headers |= {name.decode(): value.decode() for name, value in rate_fields([rate])}
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = error.allow
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = CHALLENGE + (', error="invalid_token"' if error.presented else "")
    if isinstance(error, errors.TooLarge | RequestTimeout):
        return _LingeringResponse(_body(problem(error)), problem(error).status, headers | _HEADERS)
    return _response(problem(error), headers)


def answer_to(error: Exception) -> Response:
    """Return the response for anything that a handler raises. Any but Turnwire's and Starlette's is a defect."""
    if isinstance(error, TurnwireError):
        return problem_response(error)
    if isinstance(error, HTTPException):  # Starlette's own
        if error.status_code == 404:
            return problem_response(errors.NotFound("no such path"))
        return problem_response(errors.BadRequest("the request cannot be read"))
    count_problem(None)
    return _response(INTERNAL, {})


def _type(code: str) -> str:
    return f"urn:turnwire:problem:{code}"


INTERNAL: Final = Problem(_type(INTERNAL_CODE), "Internal error", 500, "internal error (logged)", INTERNAL_CODE, True)
_HEADERS: Final = {"content-type": "application/problem+json", "cache-control": "no-store"}


def _body(document: Problem) -> bytes:
    return msgspec.json.encode(document)


def _response(document: Problem, headers: dict[str, str]) -> Response:
    return Response(_body(document), document.status, headers | _HEADERS)


class _LingeringResponse(Response):
    """Answers, then reads and discards a bounded part of the request's body before it closes the connection.

    A socket that is closed with unread data is reset, and then the client might lose the answer.
    """

    discard_bytes = 8 * 1_048_576
    discard_s = 5.0

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(self.discard_s):
                await self._discard(receive)
        await send({"type": "http.response.body", "body": b""})

    async def _discard(self, receive: Receive) -> None:
        left = self.discard_bytes
        while left > 0:
            message = await receive()
            left -= max(1, len(message.get("body", b"")))
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                break
