"""Session tokens: short-lived credentials for browsers, which open one session, or those of a prefix.

A token is a JSON web token (RFC 7519) that one of the token secrets signs with HS256. Its `typ` tells it from the
tokens of an identity provider, and its `aud` names the deployment, so that no token opens two of them.
"""

import secrets
import time
from typing import Any, Final

import jwt
import msgspec

from turnwire.api.access.errors import INVALID, Unauthenticated
from turnwire.api.access.identity import Identity, Scope
from turnwire.api.access.verified import LEEWAY_S, Verified, verification
from turnwire.shared.shared_secrets import SharedSecrets

TYPE: Final = "turnwire-session+jwt"
ALGORITHM: Final = "HS256"
OF_SESSION_TOKENS: Final = frozenset({Scope.READ, Scope.TURNS})  # what a session token may do at most
_REQUIRED: Final = ["exp", "iat", "aud", "tenant", "name", "scope"]


class NewToken(msgspec.Struct, frozen=True):
    """A token that was just made, its id, and when it expires, in seconds since 1970."""

    token: str
    id: str
    expires_s: int


class SessionTokens:
    """Makes session tokens, and verifies them."""

    def __init__(self, secrets: SharedSecrets, deployment: str) -> None:
        self._secrets = secrets
        self._audience = f"turnwire {deployment}".rstrip()

    @property
    def generation(self) -> object:
        """An object that is replaced by another one when tokens may have become invalid before they expire."""
        return self._secrets.current

    def make(self, identity: Identity, ttl_s: int, issued_ms: int | None = None) -> NewToken:
        """Return a token that gives this identity for so many seconds.

        `issued_ms`: what time it is by the clock of Redis, which also says when tokens are revoked. By the clock of
        this machine, a token that was made before a revocation could be a later one.
        """
        now_s, token_id = int(time.time()), secrets.token_urlsafe(12)
        issued_s = now_s if issued_ms is None else min(issued_ms // 1000, now_s + LEEWAY_S)
        claims: dict[str, Any] = {
            "aud": self._audience,
            "iat": issued_s,
            "exp": now_s + ttl_s,
            "jti": token_id,
            "tenant": identity.tenant,
            "name": identity.name,
            "scope": " ".join(sorted(identity.scopes)),
        }
        bound = {"sub": identity.user, "session": identity.session, "session_prefix": identity.session_prefix}
        claims |= {claim: value for claim, value in bound.items() if value is not None}
        token = jwt.encode(claims, self._secrets.current[0], ALGORITHM, headers={"typ": TYPE})
        return NewToken(token, token_id, now_s + ttl_s)

    def verify(self, token: str) -> Verified:
        """Return what a token gives.

        Raises:
            Unauthenticated: no secret has signed it, or it has expired.
        """
        refusal: Unauthenticated | None = None
        for secret in self._secrets.current:
            try:
                with verification():
                    claims = jwt.decode(
                        token, secret, [ALGORITHM], audience=self._audience,
                        options={"require": _REQUIRED, "verify_iat": False},  # see `_verified`
                    )  # fmt: skip
            except Unauthenticated as error:
                refusal = error
            else:
                return _verified(claims)
        assert refusal is not None
        raise refusal


class _Claims(msgspec.Struct):
    exp: int
    iat: float
    tenant: str
    name: str
    scope: str
    sub: str | None = None
    session: str | None = None
    session_prefix: str | None = None
    jti: str | None = None


def _verified(claims: dict[str, Any]) -> Verified:
    try:
        read = msgspec.convert(claims, _Claims)
        scopes = frozenset(map(Scope, read.scope.split())) & OF_SESSION_TOKENS
    except ValueError:  # whoever has the secret may have made it
        raise Unauthenticated(INVALID) from None
    if read.iat > time.time() + LEEWAY_S:  # the process that made it may be on another machine, whose clock is ahead
        raise Unauthenticated(INVALID)
    if read.session is None and read.session_prefix is None:
        raise Unauthenticated(INVALID)
    identity = Identity(read.tenant, scopes, read.name, read.sub, read.session, read.session_prefix)
    return Verified(identity, read.exp, by_provider=False, id=read.jti, issued_s=read.iat)
