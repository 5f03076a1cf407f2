"""Reads a request's path, query and headers. A value that does not fit is refused with a typed error."""

import re

from starlette.datastructures import Headers, QueryParams

from turnwire.api.edge.accept import JSON, choose
from turnwire.api.edge.exchange import Exchange
from turnwire.shared.errors import BadRequest, NotFound
from turnwire.shared.given_names import signal_key, turn_index
from turnwire.shared.keys import SessionKey, TurnKey, session_key
from turnwire.shared.log_context import learn

MAX_NAME_CHARACTERS = 256  # of a project, a domain, a model or a user
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")


def single(headers: Headers, name: str) -> str | None:
    """Return the value of a header that may be given once; None if it is not given.

    Raises:
        BadRequest: the header is given more than once.
    """
    values = headers.getlist(name)
    if len(values) > 1:
        raise BadRequest(f"the header {name} is given more than once")
    return values[0] if values else None


def joined(headers: Headers, name: str) -> str | None:
    """Return the value of a header that is a list, with all its lines joined; None if it is not given."""
    values = headers.getlist(name)
    return ", ".join(values) if values else None


def require_json(exchange: Exchange) -> None:
    """Refuse a client that does not accept JSON.

    Raises:
        NotAcceptable: the client does not accept it.
    """
    choose(joined(exchange.headers, "accept"), [JSON])


def idempotency_key(exchange: Exchange) -> str:
    """Return the Idempotency-Key; '' if there is none.

    Raises:
        BadRequest: the key does not have 1 to 255 visible ASCII characters.
    """
    value = single(exchange.headers, "idempotency-key")
    if value is None:
        return ""
    if not _IDEMPOTENCY_KEY.match(value):
        raise BadRequest("an Idempotency-Key must have 1 to 255 visible ASCII characters")
    return value


def path_session(exchange: Exchange) -> SessionKey:
    """Return the session that the path names: one of the tenant that sends the request.

    Raises:
        BadRequest: the name is not a session id.
        NotFound: the credentials are bound to other sessions.
    """
    return _own_session(exchange, "no such session")


def path_turn(exchange: Exchange) -> TurnKey:
    """Return the turn that the path names.

    Raises:
        BadRequest: a part of the path is not a session id, or not an index.
        NotFound: the credentials are bound to other sessions.
    """
    key = _own_session(exchange, "no such turn").turn(turn_index(exchange.scope["path_params"]["index"]))
    learn(run_id=key.run_id)
    return key


def _own_session(exchange: Exchange, missing: str) -> SessionKey:
    key = session_key(exchange.scope["path_params"]["session"], exchange.identity.tenant)
    if not exchange.identity.opens(key.session):
        raise NotFound(missing)
    return key


def resumed_after(exchange: Exchange) -> str | None:
    """Return the cursor of `?after=`, or else of `Last-Event-ID`, as the client wrote it; None: it has none.

    Raises:
        BadRequest: the one or the other is given more than once.
    """
    text = query_text(exchange, "after")
    return text if text is not None else single(exchange.headers, "last-event-id") or None


def path_run_id(exchange: Exchange) -> TurnKey:
    """Return the turn whose run id the path names. It may be any tenant's, so only operators may name one.

    Raises:
        BadRequest: it is no run id.
    """
    return TurnKey.parse(exchange.scope["path_params"]["run_id"])


def path_name(exchange: Exchange, kind: str) -> str:
    """Return the worker, the project or the tenant that the path names.

    Raises:
        BadRequest: the name is longer than a name may be, or it is not text.
    """
    return _name(exchange.scope["path_params"][kind], kind)


def path_user(exchange: Exchange) -> str:
    """Return the user that the path names.

    Raises:
        BadRequest: the name is longer than a user's name may be, or it is not text.
    """
    return _name(exchange.scope["path_params"]["user"], "user")


def _name(text: str, kind: str) -> str:
    if len(text) > MAX_NAME_CHARACTERS or "\ufffd" in text:
        raise BadRequest(f"a {kind} must have 1 to {MAX_NAME_CHARACTERS} characters, in UTF-8")
    return text


def path_signal(exchange: Exchange) -> str:
    """Return the key of the signal that the path names.

    Raises:
        BadRequest: the name is not a signal's key.
    """
    return signal_key(exchange.scope["path_params"]["key"])


def query_text(exchange: Exchange, name: str) -> str | None:
    """Return a query parameter; None if it is not given.

    Raises:
        BadRequest: the parameter is given more than once.
    """
    query = exchange.scope["query_string"]
    values = QueryParams(query).getlist(name) if query else []
    if len(values) > 1:
        raise BadRequest(f"the query parameter {name} is given more than once")
    return values[0] if values else None


def query_name(exchange: Exchange, name: str) -> str | None:
    """Return a query parameter that is a name, or a part of one; None if it is not given.

    Raises:
        BadRequest: the parameter is given more than once, is longer than a name may be, or is not text.
    """
    text = query_text(exchange, name)
    return None if text is None else _name(text, name)


def query_limit(exchange: Exchange, *, default: int, most: int) -> int:
    """Return the query parameter `limit`, which says how many items of a list to show.

    Raises:
        BadRequest: the parameter is not a number from 1 to `most`.
    """
    text = query_text(exchange, "limit")
    if text is None:
        return default
    if re.fullmatch(r"[1-9][0-9]{0,8}", text, re.ASCII) and int(text) <= most:
        return int(text)
    raise BadRequest(f"limit must be a number from 1 to {most}")


def query_seconds(exchange: Exchange, name: str, *, least: float, most: float) -> float | None:
    """Return a query parameter in seconds; None if it is not given.

    Raises:
        BadRequest: the parameter is not a decimal number from `least` to `most`.
    """
    text = query_text(exchange, name)
    if text is None:
        return None
    if (
        re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", text, re.ASCII)
        and least <= float(text) <= most
    ):
        return float(text)
    raise BadRequest(f"{name} must be a number of seconds from {least:g} to {most:g}")
