"""POST /v1/tokens makes a session token: what a product's server gives to a browser in place of its key."""

from contextlib import suppress
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from turnwire.api.access.errors import Forbidden
from turnwire.api.access.identity import Identity, Scope
from turnwire.api.edge.body import ClientGone, Name, read_body
from turnwire.api.edge.exchange import Exchange
from turnwire.api.endpoints.audit import audited
from turnwire.api.services import Services
from turnwire.shared.errors import InvalidInput, NotFound

MAX_BODY_BYTES: Final = 4096
DEFAULT_TTL_S: Final = 900
LONGEST_TTL_S: Final = 86_400

SessionName = Annotated[str, Meta(pattern="^[A-Za-z0-9._-]{1,128}$")]
TokenScopes = Annotated[list[Literal["read", "turns"]], Meta(min_length=1, max_length=2)]
TtlS = Annotated[int, Meta(ge=1, le=LONGEST_TTL_S, description="the seconds until the token expires")]


class TokenBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request for a session token. Exactly one of `session` and `session_prefix` must be given."""

    session: Annotated[SessionName | None, Meta(description="the one session that the token opens")] = None
    session_prefix: Annotated[SessionName | None, Meta(description="it opens each session that begins so")] = None
    user: Annotated[Name | None, Meta(description="it opens only sessions of this user")] = None
    scopes: TokenScopes
    ttl_s: TtlS = DEFAULT_TTL_S


class SessionToken(msgspec.Struct, frozen=True):
    """A session token, and when it expires, in ms since 1970."""

    token: str
    expires_at: int


async def make_token(services: Services, exchange: Exchange) -> None:
    """POST /v1/tokens"""
    with suppress(ClientGone):
        body = await read_body(exchange, MAX_BODY_BYTES, TokenBody)
        tokens = services.door.session_tokens
        if tokens is None:
            raise NotFound("this server makes no session tokens (TURNWIRE_TOKEN_SECRET)")
        given = _narrowed(exchange.identity, body)
        await services.audit.note(audited(exchange, "token"))
        token, expires_s = tokens.make(given, body.ttl_s)
        await exchange.answer_json(SessionToken(token, expires_s * 1000))


def _narrowed(maker: Identity, body: TokenBody) -> Identity:
    """Return what the token gives: never more than its maker may do."""
    if (body.session is None) == (body.session_prefix is None):
        raise InvalidInput("give either session or session_prefix")
    scopes = frozenset(map(Scope, body.scopes))
    for scope in scopes:
        maker.require(scope)
    if maker.user is not None and body.user not in {None, maker.user}:
        raise Forbidden("these credentials are bound to another user")
    return Identity(maker.tenant, scopes, maker.name, maker.user or body.user, body.session, body.session_prefix)
