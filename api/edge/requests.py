"""Reading a request's path, query and headers; each is refused with a typed error when it is wrong."""

import re

from starlette.datastructures import Headers, QueryParams
from starlette.types import Scope

from turnwire.shared.errors import BadRequest
from turnwire.shared.keys import SessionKey, TurnKey, session_key, turn_index

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")


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


def query_limit(scope: Scope, *, default: int, most: int) -> int:
    """The query parameter `limit`: how many of a list to show.

    Raises:
        BadRequest: not a number from 1 to `most`.
    """
    text = query_text(scope, "limit")
    if text is None:
        return default
    if re.fullmatch(r"[1-9][0-9]{0,8}", text, re.ASCII) and int(text) <= most:
        return int(text)
    raise BadRequest(f"limit is a number from 1 to {most}")


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
