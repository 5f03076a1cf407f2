"""Finds out who sends a request, from the credentials that it presents."""

import hashlib
import math
import operator
import time
from typing import TYPE_CHECKING, Final

import msgspec

from turnwire.api.access.errors import INVALID, KeysUnavailable, Unauthenticated
from turnwire.api.access.identity import ANYBODY, GIVEN, OF_OPERATORS, Identity, Scope
from turnwire.api.access.revoked import Revoked
from turnwire.shared.key_file import WatchedKeyFile, is_tenant
from turnwire.shared.settings import Settings

if TYPE_CHECKING:  # their library takes time to load, and only some deployments take tokens
    from turnwire.api.access.provider_token import ProviderTokens
    from turnwire.api.access.session_token import SessionTokens
    from turnwire.api.access.verified import Verified

MISSING: Final = "credentials are missing: send Authorization: Bearer, or x-api-key"
EXPIRED_CODE: Final = "token_expired"
WITHDRAWN_CODE: Final = "credentials_withdrawn"
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


class Credential(msgspec.Struct, frozen=True, eq=False):
    """What was found out about the credentials of a request.

    `expires_s`: until when they are valid, in seconds since 1970. `epoch`: the `Door.epoch` of that moment.
    """

    identity: Identity
    presented: Presented
    epoch: tuple[object, ...]
    expires_s: float = math.inf


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
        self._remembered: dict[
            bytes, tuple[tuple[object, object], Verified]
        ] = {}  # token's digest -> generation, what it gives
        self.revoked = Revoked()
        if settings.makes_tokens:
            from turnwire.api.access.session_token import SessionTokens
            from turnwire.shared.shared_secrets import SharedSecrets

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

    @property
    def epoch(self) -> tuple[object, ...]:
        """A tuple. One of its objects is replaced when valid credentials may have become invalid before they expire."""
        issuers = self.session_tokens, self._provider
        generations = [issuer.generation for issuer in issuers if issuer]
        return self._key_file.content, self.revoked.generation, *generations

    async def identify(self, presented: Presented) -> Identity:
        """Return who sends a request. It raises what `admit` raises."""
        return (await self.admit(presented)).identity

    async def admit(self, presented: Presented) -> Credential:
        """Return who sends a request, and for how long that is valid.

        Raises:
            Unauthenticated: it has no credentials, or not valid ones.
            KeysUnavailable: its token cannot be checked now.
        """
        epoch = self.epoch
        if not self._settings.authenticates:
            return Credential(self._trusted(presented.tenant), presented, epoch)
        if presented.secret is None:
            raise Unauthenticated(MISSING, presented=False)
        digest = hashlib.sha256(presented.secret.encode("utf-8", "surrogateescape")).digest()
        identity = None if presented.in_url else self._of_key(digest)
        if identity is not None:
            return Credential(identity, presented, epoch)
        verified = await self._of_token(presented.secret, digest, in_url=presented.in_url)
        return Credential(verified.identity, presented, epoch, verified.expires_s)

    def is_unchanged(self, credential: Credential, now_s: float) -> bool:
        """Whether credentials are certainly valid still. If not, `ended` finds out."""
        now = self.epoch
        return now_s < credential.expires_s and all(map(operator.is_, now, credential.epoch))

    async def ended(self, credential: Credential) -> str | None:
        """Return why credentials are not valid any more: a code; None: they are, as far as is known."""
        if time.time() >= credential.expires_s:
            return EXPIRED_CODE
        try:
            current = await self.admit(credential.presented)
        except KeysUnavailable:
            return None
        except Unauthenticated:
            return WITHDRAWN_CODE
        return None if current.identity == credential.identity else WITHDRAWN_CODE

    def _trusted(self, tenant: str | None) -> Identity:
        """The identity of a request that a proxy has checked, or that nobody checks."""
        if self._settings.tenant_header is None:
            return ANYBODY
        if tenant is None or not is_tenant(tenant):
            raise Unauthenticated("the proxy must name the tenant in its header", presented=tenant is not None)
        return Identity(tenant, GIVEN - OF_OPERATORS, "proxy")

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

    async def _of_token(self, token: str, digest: bytes, *, in_url: bool) -> "Verified":
        remembered = self._remembered.get(digest)
        if remembered and self._still_valid(*remembered) and not (in_url and remembered[1].by_provider):
            return remembered[1]
        verified = await self._verify(token, in_url=in_url)
        if self.revoked.includes(verified):
            raise Unauthenticated(INVALID)
        if len(self._remembered) >= REMEMBERED:
            self.forget_tokens()
        self._remembered[digest] = (self._generation(verified), verified)
        return verified

    async def verify(self, token: str) -> "Verified":
        """Return what a token gives, or gave before it was revoked. It raises what `admit` raises."""
        return await self._verify(token, in_url=False)

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

    def _generation(self, verified: "Verified") -> tuple[object, object]:
        issuer = self._provider if verified.by_provider else self.session_tokens
        return (issuer.generation if issuer else None), self.revoked.generation

    def _still_valid(self, generation: tuple[object, object], verified: "Verified") -> bool:
        return verified.expires_s > time.time() and all(map(operator.is_, generation, self._generation(verified)))
