"""Finds out who sends a request, from the credentials that it presents."""

import hashlib
from typing import Final

import msgspec

from turnwire.api.access.errors import Unauthenticated
from turnwire.api.access.identity import ANYBODY, GIVEN, Identity, Scope
from turnwire.shared.key_file import WatchedKeyFile, is_tenant
from turnwire.shared.settings import Settings

MISSING: Final = "credentials are missing: send Authorization: Bearer, or x-api-key"
INVALID: Final = "the credentials are not valid"


class Presented(msgspec.Struct, frozen=True):
    """What a request presents: its `secret`, and what the tenant header says. None: nothing."""

    secret: str | None = None
    tenant: str | None = None


class Door:
    """Checks credentials. A known API key costs one digest and one look-up; nothing is asked of Redis."""

    def __init__(self, settings: Settings, key_file: WatchedKeyFile) -> None:
        self._settings = settings
        self._key_file = key_file
        self._content = key_file.content
        self._identities: dict[bytes, Identity] = {}  # of this content, by digest

    async def identify(self, presented: Presented) -> Identity:
        """Return who sends a request.

        Raises:
            Unauthenticated: it has no credentials, or not valid ones.
        """
        if not self._settings.authenticates:
            return self._trusted(presented.tenant)
        if presented.secret is None:
            raise Unauthenticated(MISSING, presented=False)
        identity = self._of_key(presented.secret)
        if identity is None:
            raise Unauthenticated(INVALID)
        return identity

    def _trusted(self, tenant: str | None) -> Identity:
        """The identity of a request that a proxy has checked, or that nobody checks."""
        if self._settings.tenant_header is None:
            return ANYBODY
        if tenant is None or not is_tenant(tenant):
            raise Unauthenticated("the proxy must name the tenant in its header", presented=tenant is not None)
        return Identity(tenant, GIVEN - {Scope.ADMIN}, "proxy")

    def _of_key(self, secret: str) -> Identity | None:
        # A guess can only be compared by its digest, which nobody can choose. So the time of this look-up tells nothing
        # about how much of a guess is right, and a comparison in constant time would add nothing.
        content = self._key_file.content
        if content is not self._content:
            self._content, self._identities = content, {}
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        key = content.keys.get(digest)
        if key is not None and digest not in self._identities:
            scopes = frozenset(map(Scope, key.scopes))
            self._identities[digest] = Identity(key.tenant, scopes, key.name, user=key.user)
        return self._identities.get(digest)
