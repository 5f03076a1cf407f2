"""Tokens of an identity provider: JSON web tokens that it signs, with a private key or with a secret that it shares."""

from typing import Any, Final

import jwt
from jwt.algorithms import has_crypto

from turnwire.api.access.errors import INVALID, Unauthenticated
from turnwire.api.access.identity import Identity, Scope
from turnwire.api.access.key_set import KeySet
from turnwire.api.access.verified import LEEWAY_S, Verified, verification
from turnwire.shared.errors import SettingsError
from turnwire.shared.key_file import is_tenant
from turnwire.shared.settings import Settings
from turnwire.shared.shared_secrets import SharedSecrets

SECRET_ALGORITHMS: Final = ("HS256", "HS384", "HS512")
KEY_ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
OF_PROVIDERS: Final = frozenset({Scope.READ, Scope.TURNS, Scope.TOKENS})  # not `admin`: for it, operators use keys
NO_USER: Final = "-"
LONGEST_USER: Final = 256


class ProviderTokens:
    """Verifies the tokens of the identity provider that the settings name."""

    def __init__(self, settings: Settings) -> None:
        """Raises:
        SettingsError: the secret cannot be read, or an algorithm does not fit the kind of key.
        """
        self._settings = settings
        self._keys = KeySet(settings.jwt_jwks_url) if settings.jwt_jwks_url else None
        self._secrets: SharedSecrets | None = None
        if self._keys is None:
            self._secrets = SharedSecrets("TURNWIRE_JWT_SECRET", settings.jwt_secret, settings.jwt_secret_file)
        self._algorithms: tuple[str, ...] = KEY_ALGORITHMS if self._keys else SECRET_ALGORITHMS
        if self._keys and not has_crypto:
            raise SettingsError("TURNWIRE_JWT_JWKS_URL needs more libraries: pip install 'turnwire[jwt]'")
        if settings.jwt_algorithms:
            named = tuple(settings.jwt_algorithms.replace(",", " ").split())
            if not named or not set(named) <= set(self._algorithms):
                raise SettingsError("TURNWIRE_JWT_ALGORITHMS must be some of: " + ", ".join(self._algorithms))
            self._algorithms = named

    @property
    def generation(self) -> object:
        """An object that is replaced by another one when tokens may have become invalid before they expire."""
        if self._keys:
            return self._keys.generation if self._keys.is_usable() else None
        assert self._secrets is not None
        return self._secrets.current

    async def verify(self, token: str, header: dict[str, object]) -> Verified:
        """Return what a token gives. `header`: its own, which nobody has verified yet.

        Raises:
            Unauthenticated: it is not valid, or does not say whose it is.
            KeysUnavailable: the provider's keys cannot be fetched.
        """
        algorithm = header.get("alg")
        if algorithm not in self._algorithms:
            raise Unauthenticated(INVALID)
        assert isinstance(algorithm, str)
        if self._keys:
            return self._verified(token, await self._keys.key(header.get("kid"), algorithm), algorithm)
        assert self._secrets is not None
        refusal = Unauthenticated(INVALID)
        for secret in self._secrets.current:
            try:
                return self._verified(token, secret, algorithm)
            except Unauthenticated as error:
                refusal = error
        raise refusal

    def _verified(self, token: str, key: Any, algorithm: str) -> Verified:
        settings = self._settings
        with verification():
            claims = jwt.decode(
                token, key, [algorithm], issuer=settings.jwt_issuer, audience=settings.jwt_audience, leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True, "verify_sub": False},
            )  # fmt: skip
            issued_s, token_id = float(claims.get("iat") or 0), claims.get("jti")
            return Verified(
                self._identity(claims), float(claims["exp"]) + LEEWAY_S, by_provider=True,
                id=token_id if isinstance(token_id, str) else None, issued_s=issued_s,
            )  # fmt: skip

    def _identity(self, claims: dict[str, Any]) -> Identity:
        settings = self._settings
        tenant = settings.jwt_tenant or _claim(claims, settings.jwt_tenant_claim)
        user = None if settings.jwt_user_claim == NO_USER else _claim(claims, settings.jwt_user_claim)
        if not isinstance(tenant, str) or not is_tenant(tenant):
            raise Unauthenticated("the token does not name a tenant")
        if settings.jwt_user_claim != NO_USER and not (isinstance(user, str) and 0 < len(user) <= LONGEST_USER):
            raise Unauthenticated("the token does not name a user")
        listed = _claim(claims, settings.jwt_scope_claim)
        names = listed.split() if isinstance(listed, str) else listed if isinstance(listed, list) else []
        return Identity(tenant, frozenset(scope for scope in OF_PROVIDERS if scope in names), "jwt", user=user)

    async def close(self) -> None:
        """Stop fetching keys."""
        if self._keys:
            await self._keys.close()


def _claim(claims: dict[str, Any], name: str) -> Any:
    """Return the claim of this name, or else at this path, such as `realm_access.roles`; None: there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
