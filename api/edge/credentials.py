"""Reads the credentials that a request presents: `Authorization: Bearer …` or `x-api-key`."""

from typing import Final

from starlette.datastructures import Headers

from turnwire.api.access.door import Presented
from turnwire.api.access.errors import Unauthenticated
from turnwire.api.edge.exchange import Exchange

BEARER: Final = "bearer "


def presented(exchange: Exchange) -> Presented:
    """Return the credentials of the request.

    Raises:
        Unauthenticated: there are several, so that it is not clear which ones count, or they have another form.
    """
    return Presented(secret=_secret(exchange.headers))


def named_by_proxy(exchange: Exchange, header: str | None) -> Presented:
    """Return the tenant that a proxy names in this header. Credentials are the proxy's business then.

    Raises:
        Unauthenticated: the header is given more than once.
    """
    return Presented(tenant=_only(exchange.headers, header) if header else None)


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
