"""Reading what a client sent: its body, headers and query, each refused with a typed error when it is wrong."""

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope

from api.problems import UnsupportedMediaType
from shared.errors import BadRequest, InvalidInput, TooLarge
from shared.keys import SessionKey, TurnKey, session_key, turn_index
from shared.model import OnBusy, TurnRequest

MAX_METADATA_BYTES: Final = 16_384
MAX_METADATA_DEPTH: Final = 32

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")

Name = Annotated[str, Meta(min_length=1, max_length=256)]


class TurnBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a POST that asks a turn. Absent and null mean the same."""

    message: Annotated[str, Meta(min_length=1, description="the user's message")]
    project: Annotated[Name | None, Meta(description="chooses the product that answers")] = None
    domain: Name | None = None
    model: Annotated[Name | None, Meta(description="absent: the model of the settings")] = None
    user: Name | None = None
    metadata: Annotated[dict[str, Any] | None, Meta(description="kept with the turn, at most 16 KiB")] = None
    on_busy: Annotated[OnBusy, Meta(description="if an earlier turn of the session is in progress")] = "enqueue"
    on_disconnect: Annotated[Literal["continue"], Meta(description="what a lost client connection does")] = "continue"


_decode_body = msgspec.json.Decoder(TurnBody).decode


class ClientGone(Exception):
    """The client closed the connection before its request was complete: nothing happened, nobody to answer."""


async def read_turn(scope: Scope, receive: Receive, max_bytes: int) -> TurnRequest:
    """The turn that a POST asks for.

    Raises:
        BadRequest, UnsupportedMediaType, TooLarge, InvalidInput: what is wrong with it.
        ClientGone: the body did not arrive.
    """
    headers = Headers(scope=scope)
    _check_media_type(headers)
    turn = parse_turn(await _read_body(headers, receive, max_bytes))
    return msgspec.structs.replace(turn, traceparent=_traceparent(headers))


def parse_turn(body: bytes) -> TurnRequest:
    """Read a body.

    Raises:
        BadRequest: not JSON in UTF-8.
        InvalidInput: JSON, but not such an object.
    """
    try:
        turn = _decode_body(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from None
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise InvalidInput("the body is nested too deeply") from None
    if turn.metadata is not None:
        _check_metadata(turn.metadata)
    fields = msgspec.structs.asdict(turn)
    del fields["on_disconnect"]
    return TurnRequest(**fields)


def single(headers: Headers, name: str) -> str | None:
    """A header that may come once.

    Raises:
        BadRequest: it came more often.
    """
    values = headers.getlist(name)
    if len(values) > 1:
        raise BadRequest(f"the header {name} came more than once")
    return values[0] if values else None


def joined(headers: Headers, name: str) -> str | None:
    """A header that is a list: all its lines as one; None without any."""
    values = headers.getlist(name)
    return ", ".join(values) if values else None


def idempotency_key(headers: Headers) -> str:
    """The Idempotency-Key, empty without one.

    Raises:
        BadRequest: not 1 to 255 visible ASCII characters.
    """
    value = single(headers, "idempotency-key")
    if value is None:
        return ""
    if not _IDEMPOTENCY_KEY.match(value):
        raise BadRequest("an Idempotency-Key is 1 to 255 visible ASCII characters")
    return value


def path_session(scope: Scope) -> SessionKey:
    """The session that the path names.

    Raises:
        BadRequest: not a session id.
    """
    return session_key(scope["path_params"]["session"])


def path_turn(scope: Scope) -> TurnKey:
    """The turn that the path names.

    Raises:
        BadRequest: not a session id, or not an index.
    """
    return path_session(scope).turn(turn_index(scope["path_params"]["index"]))


def query_text(scope: Scope, name: str) -> str | None:
    """A query parameter; None without it.

    Raises:
        BadRequest: it came more than once.
    """
    values = QueryParams(scope["query_string"]).getlist(name)
    if len(values) > 1:
        raise BadRequest(f"the query parameter {name} came more than once")
    return values[0] if values else None


def query_seconds(scope: Scope, name: str, *, least: float, most: float) -> float | None:
    """A query parameter in seconds, as a decimal number between `least` and `most`; None without it.

    Raises:
        BadRequest: something else.
    """
    text = query_text(scope, name)
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text, re.ASCII) and least <= float(text) <= most:
        return float(text)
    raise BadRequest(f"{name} is a number of seconds from {least:g} to {most:g}")


def _check_media_type(headers: Headers) -> None:
    kind, *parameters = (part.strip().lower() for part in (single(headers, "content-type") or "").split(";"))
    if kind not in {"", "application/json"}:
        raise UnsupportedMediaType("the body must be application/json")
    if any(part.startswith("charset=") and part[8:].strip('"') not in {"utf-8", "utf8"} for part in parameters):
        raise UnsupportedMediaType("the body must be UTF-8")
    if (joined(headers, "content-encoding") or "identity").strip().lower() not in {"identity", ""}:
        raise UnsupportedMediaType("the body must not be compressed")


async def _read_body(headers: Headers, receive: Receive, max_bytes: int) -> bytes:
    too_large = TooLarge(f"a body has at most {max_bytes} bytes")
    if int(headers.get("content-length") or 0) > max_bytes:
        raise too_large
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > max_bytes:
            raise too_large
        if not message.get("more_body", False):
            return b"".join(parts)


def _check_metadata(metadata: dict[str, Any]) -> None:
    level: list[Any] = [metadata]
    for _ in range(MAX_METADATA_DEPTH):
        level = [child for value in level for child in _children(value)]
    if level:
        raise InvalidInput(f"metadata is nested deeper than {MAX_METADATA_DEPTH} levels")
    if len(msgspec.json.encode(metadata)) > MAX_METADATA_BYTES:
        raise InvalidInput(f"metadata has more than {MAX_METADATA_BYTES} bytes")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _traceparent(headers: Headers) -> str | None:
    """A valid W3C trace parent; a broken one is ignored, as its standard wants."""
    values = headers.getlist("traceparent")
    return values[0] if len(values) == 1 and _TRACEPARENT.match(values[0]) else None
