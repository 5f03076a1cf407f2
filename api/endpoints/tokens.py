"""POST /v1/tokens makes a session token: what a product's server gives to a browser in place of its key.

POST /v1/tokens/revoke takes tokens back before they expire.
"""

from contextlib import suppress
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from turnwire.api.access.errors import Forbidden, Unauthenticated
from turnwire.api.access.identity import Identity, Scope
from turnwire.api.access.revoked import Kind, Revocation
from turnwire.api.edge.body import ClientGone, Name, read_body
from turnwire.api.edge.exchange import Exchange
from turnwire.api.endpoints.audit import audited
from turnwire.api.services import Services
from turnwire.shared.errors import InvalidInput, NotFound

MAX_BODY_BYTES: Final = 4096
DEFAULT_TTL_S: Final = 900
LONGEST_TTL_S: Final = 86_400
LONGEST_LIFE_S: Final = 31 * 86_400  # of the tokens of an identity provider
MAX_REVOKE_BYTES: Final = 16_384

SessionName = Annotated[str, Meta(pattern="^[A-Za-z0-9._-]{1,128}$")]
TokenText = Annotated[str, Meta(min_length=1, max_length=8192)]
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
    """A session token, when it expires, in ms since 1970, and the id with which it can be revoked."""

    token: str
    expires_at: int
    id: str


class RevokeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is revoked: tokens of your tenant. Exactly one of the first four must be given."""

    token: Annotated[TokenText | None, Meta(description="this token, which is still valid")] = None
    id: Annotated[Name | None, Meta(description="the token with this id")] = None
    user: Annotated[Name | None, Meta(description="all tokens of this user that were issued before")] = None
    key: Annotated[Name | None, Meta(description="all tokens that this API key has made before")] = None
    keep_s: Annotated[
        int, Meta(ge=1, le=LONGEST_LIFE_S, description="the longest life of the tokens that it concerns, in seconds")
    ] = LONGEST_TTL_S


class RevokedTokens(msgspec.Struct, frozen=True):
    """When the tokens were revoked, in ms since 1970."""

    revoked_at: int


async def make_token(services: Services, exchange: Exchange) -> None:
    """POST /v1/tokens"""
    with suppress(ClientGone):
        body = await read_body(exchange, MAX_BODY_BYTES, TokenBody)
        tokens = services.door.session_tokens
        if tokens is None:
            raise NotFound("this server makes no session tokens (TURNWIRE_TOKEN_SECRET)")
        given = _narrowed(exchange.identity, body)
        issued_ms = await services.audit.note(audited(exchange, "token"))
        made = tokens.make(given, body.ttl_s, issued_ms)
        await exchange.answer_json(SessionToken(made.token, made.expires_s * 1000, made.id))


async def revoke_tokens(services: Services, exchange: Exchange) -> None:
    """POST /v1/tokens/revoke"""
    with suppress(ClientGone):
        body = await read_body(exchange, MAX_REVOKE_BYTES, RevokeBody)
        revocation = await _revocation(services, exchange.identity, body)
        await services.audit.note(audited(exchange, "revoke", revoked=revocation.field))
        revoked_at = await services.revocations.add(revocation.field, body.keep_s)
        await exchange.answer_json(RevokedTokens(revoked_at))


async def _revocation(services: Services, identity: Identity, body: RevokeBody) -> Revocation:
    given = {"token": body.token, "id": body.id, "user": body.user, "key": body.key}
    named = [(kind, name) for kind, name in given.items() if name is not None]
    if len(named) != 1:
        raise InvalidInput("give exactly one of token, id, user and key")
    [(kind, name)] = named
    if identity.user is not None and (kind, name) != ("user", identity.user):
        raise Forbidden("credentials that are bound to a user revoke only all tokens of this user")
    if kind == "token":
        kind, name = "id", await _id_of(services, identity, name)
    return Revocation(identity.tenant, msgspec.convert(kind, Kind), name)


async def _id_of(services: Services, identity: Identity, token: str) -> str:
    """Raises:
    InvalidInput: it is no valid token of this tenant, or it has no id.
    """
    try:
        verified = await services.door.verify(token)
    except Unauthenticated:
        verified = None
    if verified is None or verified.identity.tenant != identity.tenant or verified.id is None:
        raise InvalidInput("this is no valid token of your tenant with an id (jti)")
    return verified.id


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
