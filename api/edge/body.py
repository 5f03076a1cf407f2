"""Reads the body of a POST up to its limit, checks it, and makes the struct that the store takes."""

import re
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta
from starlette.datastructures import Headers
from starlette.types import Message, Receive

from turnwire.api.access.errors import Forbidden
from turnwire.api.edge.accept import JSON
from turnwire.api.edge.arriving import Bodies
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.problems import UnsupportedMediaType
from turnwire.api.edge.requests import joined, single
from turnwire.api.edge.site import refuse_foreign_page
from turnwire.api.edge.trace_context import trace_context
from turnwire.shared.callbacks import MAX_URL_CHARACTERS
from turnwire.shared.content import MAX_PARTS, Part, Text, checked_content
from turnwire.shared.errors import BadRequest, InvalidInput, TooLarge
from turnwire.shared.keys import MAX_TURN_INDEX
from turnwire.shared.lanes import Priority
from turnwire.shared.options import TurnOptions, check_json, checked_options
from turnwire.shared.request import NO_PARENT, OnBusy, TurnRequest
from turnwire.shared.tracing import tracing

MAX_METADATA_BYTES: Final = 16_384
BODIES: Final = Bodies()  # of this process
MAX_DETAIL_CHARACTERS: Final = 300
NOT_JSON: Final = "the body must be application/json, and its Content-Type must say so"

_LONG_QUOTE = re.compile(r"(['`])(.{40}).*\1", re.DOTALL)

Name = Annotated[str, Meta(min_length=1, max_length=256)]
CallbackUrl = Annotated[str, Meta(min_length=1, max_length=MAX_URL_CHARACTERS)]
OnDisconnect = Literal["continue", "cancel"]


class TurnBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a POST that asks for a turn. An absent field and null mean the same."""

    message: Annotated[
        Text | Annotated[list[Part], Meta(min_length=1, max_length=MAX_PARTS)],
        Meta(description="the user's message: a text, or parts; one part with a text is the same as this text"),
    ]
    parent: Annotated[
        Annotated[int, Meta(ge=NO_PARENT, le=MAX_TURN_INDEX)] | None,
        Meta(description="the index of the turn that this one follows; -1: none; null: the latest one with an answer"),
    ] = None
    project: Annotated[Name | None, Meta(description="selects the product that answers")] = None
    domain: Name | None = None
    model: Annotated[Name | None, Meta(description="default: the model in the settings")] = None
    user: Name | None = None
    options: Annotated[TurnOptions | None, Meta(description="for the model; at most 64 KiB")] = None
    metadata: Annotated[dict[str, Any] | None, Meta(description="stored with the turn, at most 16 KiB")] = None
    callback: Annotated[CallbackUrl | None, Meta(description="a URL that is told of the end of the turn")] = None
    priority: Annotated[Priority | None, Meta(description="batch turns wait while interactive ones do")] = None
    on_busy: Annotated[OnBusy, Meta(description="what to do if an earlier turn of the session is in progress")] = (
        "enqueue"
    )
    on_disconnect: Annotated[OnDisconnect, Meta(description="the turn, if this request loses its connection")] = (
        "continue"
    )


T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection before its request was complete. Nothing was done, and nobody waits."""


class AskedTurn(msgspec.Struct, frozen=True):
    """The turn that a POST asks for, and an option that concerns only this request."""

    request: TurnRequest
    cancel_on_disconnect: bool
    priority: Priority | None


async def read_turn(exchange: Exchange, max_bytes: int) -> AskedTurn:
    """Read the turn that a POST asks for.

    Raises:
        BadRequest, UnsupportedMediaType, TooLarge, InvalidInput: the message says what is wrong.
        Forbidden: the turn is to be another user's than the credentials allow.
        ClientGone: the client left before the whole body had arrived.
    """
    turn = await read_body(exchange, max_bytes, TurnBody)
    if turn.metadata is not None:
        check_json("metadata", turn.metadata, MAX_METADATA_BYTES)
    user = exchange.identity.user
    if user is not None and turn.user not in {None, user}:
        raise Forbidden("these credentials are bound to another user")
    asked = {"message": checked_content(turn.message), "options": checked_options(turn.options)}
    fields = msgspec.structs.asdict(turn) | asked | {"user": user or turn.user, "bound": user is not None}
    on_disconnect, priority = fields.pop("on_disconnect"), fields.pop("priority")
    trace = tracing.current().context or trace_context(exchange.headers)
    traced = {} if trace is None else msgspec.structs.asdict(trace)
    return AskedTurn(TurnRequest(**fields, **traced), on_disconnect == "cancel", priority)


async def read_body(exchange: Exchange, max_bytes: int, kind: type[T], *, absent: T | None = None) -> T:
    """Read the body as a document of this kind. An empty body gives `absent`; with None, the body must not be empty.

    Raises:
        BadRequest, UnsupportedMediaType, TooLarge, InvalidInput: the message says what is wrong.
        ForeignPage: a page of another site sends a request without a body and its media type.
        ClientGone: the body did not arrive.
    """
    is_json = _is_json(exchange.headers)
    body = await _receive_all(exchange.headers, exchange.receive, max_bytes)
    if not is_json and body:  # a page of another site may send a body without a media type, but not this media type
        raise UnsupportedMediaType(NOT_JSON)
    if absent is None or body:
        return parse(body, kind)
    if not is_json:
        refuse_foreign_page(exchange.headers, exchange.origins)
    return absent


def parse(body: bytes, kind: type[T]) -> T:
    """Read a JSON document of this kind.

    Raises:
        BadRequest: the body is not JSON in UTF-8.
        InvalidInput: the body is JSON, but not a document of this kind.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(_without_input(str(error))) from None
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise InvalidInput("the body is nested too deeply") from None


def _without_input(text: str) -> str:
    """The decoder's words, with at most the first characters of each value that they quote."""
    return _LONG_QUOTE.sub(r"\1\2…\1", text)[:MAX_DETAIL_CHARACTERS]


def _is_json(headers: Headers) -> bool:
    """False if the request names no media type. Raises UnsupportedMediaType if it names another one."""
    kind = named = single(headers, "content-type") or ""
    if named != JSON:  # most requests name it just so
        kind, *parameters = (part.strip().lower() for part in named.split(";"))
        if kind not in {"", JSON}:
            raise UnsupportedMediaType(NOT_JSON)
        if any(part.startswith("charset=") and part[8:].strip('"') not in {"utf-8", "utf8"} for part in parameters):
            raise UnsupportedMediaType("the body must be UTF-8")
    if (joined(headers, "content-encoding") or "identity").strip().lower() not in {"identity", ""}:
        raise UnsupportedMediaType("the body must not be compressed")
    return bool(kind)


async def _receive_all(headers: Headers, receive: Receive, max_bytes: int) -> bytes:
    if int(headers.get("content-length") or 0) > max_bytes:
        raise _too_large(max_bytes)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    if message.get("more_body", False):
        return await _receive_rest(message, receive, max_bytes)
    body: bytes = message.get("body", b"")
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


async def _receive_rest(message: Message, receive: Receive, max_bytes: int) -> bytes:
    with BODIES.arriving(max_bytes) as body:
        body.add(message)
        while body.size <= max_bytes:
            message = await body.receive(receive)
            if message["type"] == "http.disconnect":
                raise ClientGone
            if not message.get("more_body", False) and body.size <= max_bytes:
                return body.whole()
    raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"the body has more than {max_bytes} bytes")
