"""Reads the credentials that a request presents: `Authorization: Bearer …` or `x-api-key`.

An EventSource cannot send headers, so an operation that streams also takes a session token as `?token=`. It reaches no
log of Turnwire, but proxies log URLs: it lives only for minutes.
"""

from typing import Final

from starlette.datastructures import Headers, QueryParams

from turnwire.api.access.door import Presented
from turnwire.api.access.errors import Unauthenticated
from turnwire.api.edge.exchange import Exchange

BEARER: Final = "bearer "


def presented(exchange: Exchange, *, may_be_in_url: bool) -> Presented:
    """Return the credentials of the request. `may_be_in_url`: the operation takes `?token=`.

    Raises:
        Unauthenticated: there are several, so that it is not clear which ones count, or they have another form.
    """
    secret = _secret(exchange.headers)
    tokens = QueryParams(exchange.scope["query_string"]).getlist("token") if may_be_in_url else []
    if len(tokens) + (secret is not None) > 1:
        raise Unauthenticated("send one key or token, not several")
    return Presented(tokens[0], in_url=True) if tokens else Presented(secret)


def named_by_proxy(exchange: Exchange, header: str | None) -> Presented:
    """Return the tenant that a proxy names in this header. Credentials are the proxy's business then.

    Raises:
        Unauthenticated: the header is given more than once, or the request comes from none of the trusted proxies.
    """
    if header is None:
        return Presented()
    if exchange.comes_from_stranger:
        raise Unauthenticated("only a trusted proxy may name the tenant (TURNWIRE_TRUSTED_PROXIES)")
    return Presented(tenant=_only(exchange.headers, header))


def _secret(headers: Headers) -> str | None:
    key, authorization = _only(headers, "x-api-key"), _only(headers, "authorization")
    if authorization is None:
        return key
    if key is not None:
        raise Unauthenticated("send either Authorization or x-api-key")
    if authorization[: len(BEARER)].lower() != BEARER:
        raise Unauthenticated("Authorization must be: Bearer, a space, and the key or token")
    return authorization[len(BEARER) :].strip()


def _only(headers: Headers, name: str) -> str | None:
    values = headers.getlist(name)
    if len(values) > 1:
        raise Unauthenticated(f"the header {name} is given more than once")
    return values[0] if values else None
