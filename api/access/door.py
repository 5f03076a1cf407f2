"""Finds out who sends a request, from the credentials that it presents."""

import hashlib
import time
from typing import TYPE_CHECKING, Final

import msgspec

from turnwire.api.access.errors import INVALID, Unauthenticated
from turnwire.api.access.identity import ANYBODY, GIVEN, Identity, Scope
from turnwire.shared.key_file import WatchedKeyFile, is_tenant
from turnwire.shared.settings import Settings

if TYPE_CHECKING:  # their library takes time to load, and only some deployments take tokens
    from turnwire.api.access.provider_token import ProviderTokens
    from turnwire.api.access.session_token import SessionTokens
    from turnwire.api.access.verified import Verified

MISSING: Final = "credentials are missing: send Authorization: Bearer, or x-api-key"
REMEMBERED: Final = 4096  # so many tokens are not verified again while they are valid


class Presented(msgspec.Struct, frozen=True):
    """What a request presents.

    Attributes:
        secret: a key or a token; None: nothing.
        in_url: the secret stands in the URL, where only a session token may stand.
        tenant: what the tenant header says; None: nothing.
    """

    secret: str | None = None
    in_url: bool = False
    tenant: str | None = None

    def __repr__(self) -> str:
        return f"Presented(in_url={self.in_url}, tenant={self.tenant!r})"


class Door:
    """Checks credentials. A known API key costs one digest and one look-up; nothing is asked of Redis."""

    session_tokens: "SessionTokens | None" = None
    _provider: "ProviderTokens | None" = None

    def __init__(self, settings: Settings, key_file: WatchedKeyFile) -> None:
        """Raises:
        SettingsError: a secret cannot be read, or settings do not fit together.
        """
        self._settings = settings
        self._key_file = key_file
        self._content = key_file.content
        self._identities: dict[bytes, Identity] = {}  # of this content, by digest
        self._remembered: dict[bytes, tuple[object, Verified]] = {}  # token's digest -> its generation, what it gives
        if settings.makes_tokens:
            from turnwire.api.access.session_token import SessionTokens
            from turnwire.api.access.shared_secrets import SharedSecrets

            secrets = SharedSecrets("TURNWIRE_TOKEN_SECRET", settings.token_secret, settings.token_secret_file)
            self.session_tokens = SessionTokens(secrets, settings.deployment_name)
        if settings.takes_jwt:
            from turnwire.api.access.provider_token import ProviderTokens

            self._provider = ProviderTokens(settings)

    async def close(self) -> None:
        """Stop what runs in the background."""
        if self._provider:
            await self._provider.close()

    def forget_tokens(self) -> None:
        """Let each token be verified again when it comes next."""
        self._remembered.clear()

    async def identify(self, presented: Presented) -> Identity:
        """Return who sends a request.

        Raises:
            Unauthenticated: it has no credentials, or not valid ones.
            KeysUnavailable: its token cannot be checked now.
        """
        if not self._settings.authenticates:
            return self._trusted(presented.tenant)
        if presented.secret is None:
            raise Unauthenticated(MISSING, presented=False)
        digest = hashlib.sha256(presented.secret.encode("utf-8", "surrogateescape")).digest()
        identity = None if presented.in_url else self._of_key(digest)
        return identity or await self._of_token(presented.secret, digest, in_url=presented.in_url)

    def _trusted(self, tenant: str | None) -> Identity:
        """The identity of a request that a proxy has checked, or that nobody checks."""
        if self._settings.tenant_header is None:
            return ANYBODY
        if tenant is None or not is_tenant(tenant):
            raise Unauthenticated("the proxy must name the tenant in its header", presented=tenant is not None)
        return Identity(tenant, GIVEN - {Scope.ADMIN}, "proxy")

    def _of_key(self, digest: bytes) -> Identity | None:
        # A guess can only be compared by its digest, which nobody can choose. So the time of this look-up tells nothing
        # about how much of a guess is right, and a comparison in constant time would add nothing.
        content = self._key_file.content
        if content is not self._content:
            self._content, self._identities = content, {}
        key = content.keys.get(digest)
        if key is not None and digest not in self._identities:
            scopes = frozenset(map(Scope, key.scopes))
            self._identities[digest] = Identity(key.tenant, scopes, key.name, user=key.user)
        return self._identities.get(digest)

    async def _of_token(self, token: str, digest: bytes, *, in_url: bool) -> Identity:
        remembered = self._remembered.get(digest)
        if remembered and self._still_valid(*remembered) and not (in_url and remembered[1].by_provider):
            return remembered[1].identity
        verified = await self._verify(token, in_url=in_url)
        if len(self._remembered) >= REMEMBERED:
            self.forget_tokens()
        self._remembered[digest] = (self._generation(verified), verified)
        return verified.identity

    async def _verify(self, token: str, *, in_url: bool) -> "Verified":
        if self.session_tokens is None and self._provider is None:
            raise Unauthenticated(INVALID)
        from turnwire.api.access.session_token import TYPE
        from turnwire.api.access.verified import header_of

        header = header_of(token)
        if header.get("typ") == TYPE:
            if self.session_tokens is None:
                raise Unauthenticated(INVALID)
            return self.session_tokens.verify(token)
        if self._provider is None or in_url:
            raise Unauthenticated(INVALID)
        return await self._provider.verify(token, header)

    def _generation(self, verified: "Verified") -> object:
        issuer = self._provider if verified.by_provider else self.session_tokens
        return issuer.generation if issuer else None

    def _still_valid(self, generation: object, verified: "Verified") -> bool:
        return verified.expires_s > time.time() and generation is self._generation(verified)
