"""Tokens that were revoked before their time. Each API process holds them all, so a request asks nobody.

A revocation names a token by its id, or all tokens of a user or of a key that were issued before it. It is kept until
the last token that it can mean has expired.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from turnwire.shared.identity import user_digest

if TYPE_CHECKING:  # its library takes time to load, and only some deployments take tokens
    from turnwire.api.access.verified import Verified

Kind = Literal["id", "user", "key"]

MARGIN_S: Final = 1.0  # `iat` has whole seconds: a token of the second of a revocation may be an older one


class Revocation(msgspec.Struct, frozen=True):
    """What is revoked: the tokens of a tenant with this id, or of this user, or made by this key."""

    tenant: str
    kind: Kind
    name: str

    @property
    def field(self) -> str:
        """The name of the revocation in Redis. Ids and users may be any text, so digests name them."""
        name = self.name if self.kind == "key" else user_digest(self.tenant, self.name)
        return f"{self.tenant}/{self.kind}/{name}"


class Revoked:
    """The revocations that this process knows. When there are new ones, another object replaces `generation`."""

    def __init__(self) -> None:
        self.generation: object = object()
        self._revoked_at_s: Mapping[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._revoked_at_s)

    def learn(self, revoked_at_s: Mapping[str, float]) -> None:
        """Take what Redis has: the field of each revocation, and when it was revoked, in seconds since 1970."""
        if revoked_at_s != self._revoked_at_s:
            self._revoked_at_s, self.generation = revoked_at_s, object()

    def includes(self, token: "Verified") -> bool:
        """Whether a valid token was revoked."""
        if not self._revoked_at_s:
            return False
        who = token.identity
        names: list[tuple[Kind, str | None]] = [("id", token.id), ("user", who.user), ("key", who.name)]
        return any(self._means(Revocation(who.tenant, kind, name), token) for kind, name in names if name is not None)

    def _means(self, revocation: Revocation, token: "Verified") -> bool:
        at_s = self._revoked_at_s.get(revocation.field)
        return at_s is not None and (revocation.kind == "id" or token.issued_s < at_s + MARGIN_S)
