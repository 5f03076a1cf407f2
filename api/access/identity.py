"""What a request may do: its tenant, its user, its scopes and the sessions that it is bound to."""

from enum import StrEnum
from typing import Final

import msgspec

from turnwire.api.access.errors import Forbidden
from turnwire.shared.keys import DEFAULT_TENANT


class Scope(StrEnum):
    """A right that credentials may give. Every operation needs exactly one of these."""

    PUBLIC = "public"  # the operation needs no credentials; no credentials name this scope
    ANY = "any"  # the operation needs credentials, whatever they allow; no credentials name this scope
    READ = "read"
    TURNS = "turns"  # ask, cancel, signal and erase; it includes `read`
    TOKENS = "tokens"  # make session tokens
    METRICS = "metrics"  # read the metrics of the whole deployment
    ADMIN = "admin"  # look after the whole deployment, so for all tenants; it includes `metrics`


GIVEN: Final = frozenset(Scope) - {Scope.PUBLIC, Scope.ANY}  # the scopes that credentials may have
OF_OPERATORS: Final = frozenset({Scope.METRICS, Scope.ADMIN})  # what they show is of every tenant


class Identity(msgspec.Struct, frozen=True):
    """Who sends a request. A handler reads it as `exchange.identity`.

    Attributes:
        tenant: every session and every sum that the request can reach is this tenant's.
        scopes: what it may do.
        name: the name of the key, or of another kind of credentials, for logs and for the audit.
        user: if not None, only sessions of this user can be opened, and every turn is this user's.
        session: if not None, only this session can be opened.
        session_prefix: if not None, only sessions whose id begins with this text can be opened.
    """

    tenant: str
    scopes: frozenset[Scope]
    name: str
    user: str | None = None
    session: str | None = None
    session_prefix: str | None = None

    @property
    def is_bound(self) -> bool:
        """Whether these credentials open only some of the tenant's sessions."""
        return not (self.user is None and self.session is None and self.session_prefix is None)

    def may(self, scope: Scope) -> bool:
        """Whether these credentials include the scope. `public` and `any` need none."""
        if scope is Scope.READ and Scope.TURNS in self.scopes:
            return True
        if scope is Scope.METRICS and Scope.ADMIN in self.scopes:
            return True
        return scope in {Scope.PUBLIC, Scope.ANY} or scope in self.scopes

    def require(self, scope: Scope) -> None:
        """Raises:
        Forbidden: the credentials do not include the scope.
        """
        if not self.may(scope):
            raise Forbidden(f"these credentials do not have the scope {scope}")

    def opens(self, session: str) -> bool:
        """Whether the binding to a session, or to a prefix, allows this session. The store checks its user."""
        if self.session is not None and session != self.session:
            return False
        return self.session_prefix is None or session.startswith(self.session_prefix)


NOBODY: Final = Identity("", frozenset(), "nobody", session="")  # opens nothing: for operations without credentials
ANYBODY: Final = Identity(DEFAULT_TENANT, GIVEN, "anybody")  # where nobody is asked for credentials
