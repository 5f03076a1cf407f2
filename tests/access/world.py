"""Tenants with their users, keys, tokens and sessions, and the rule of who may open what, written down once more."""

import hashlib
import time
from pathlib import Path
from typing import Any, Final

import httpx
import jwt
import msgspec

from tests.support.key_file import key_block, write_key_file

TOKEN_SECRET: Final = "token-secret-" + "t" * 40
JWT_SECRET: Final = "jwt-secret-" + "j" * 60
ASYNC: Final = {"Prefer": "respond-async"}


class Session(msgspec.Struct, frozen=True):
    """A session that is planted before the test. `user`: whose it is; None: nobody's."""

    tenant: str
    name: str
    user: str | None = None

    @property
    def text(self) -> str:
        """What its first message says, and no other one's."""
        digest = hashlib.sha256(f"{self.tenant}/{self.name}".encode()).hexdigest()
        return f"text-{digest[:16]}"


class Caller(msgspec.Struct, frozen=True):
    """Somebody with credentials. `session`: the one that it opens, `prefix`: how those begin that it opens."""

    name: str
    tenant: str
    scopes: frozenset[str]
    secret: str
    user: str | None = None
    session: str | None = None
    prefix: str | None = None

    def opens(self, session: Session) -> bool:
        """Whether this is one of its sessions: the rule of docs/protocol.md."""
        mine = session.tenant == self.tenant and self.user in {None, session.user}
        named = self.session in {None, session.name}
        return mine and named and (self.prefix is None or session.name.startswith(self.prefix))

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}


SESSIONS: Final = (
    Session("acme", "of-ada", "ada"),
    Session("acme", "of-bob", "bob"),
    Session("acme", "of-nobody"),
    Session("acme", "p-1", "ada"),
    Session("globex", "of-ada", "eve"),  # the same name, and another session
    Session("globex", "of-eve", "eve"),
    Session("globex", "p-1"),
    Session("default", "of-ada"),
)

KEYS: Final = (
    ("backend", "acme", ("turns", "tokens"), None),
    ("reader", "acme", ("read",), None),
    ("ada", "acme", ("turns", "tokens"), "ada"),
    ("bob", "acme", ("turns",), "bob"),
    ("operator", "acme", ("admin",), None),
    ("other", "globex", ("turns", "tokens"), None),
    ("eve", "globex", ("turns",), "eve"),
    ("plain", "default", ("turns",), None),
)


def settings(directory: Path) -> dict[str, str]:
    """The settings of an API that knows these keys."""
    blocks = [key_block(name, f"tw_{name}", tenant, scopes, user) for name, tenant, scopes, user in KEYS]
    return {
        "TURNWIRE_API_KEYS_FILE": str(write_key_file(directory / "keys.toml", *blocks)),
        "TURNWIRE_TOKEN_SECRET": TOKEN_SECRET,
        "TURNWIRE_JWT_SECRET": JWT_SECRET,
        "TURNWIRE_JWT_ISSUER": "https://login.example",
        "TURNWIRE_JWT_AUDIENCE": "turnwire",
    }


def keys() -> list[Caller]:
    """Everybody who has a key."""
    return [Caller(name, tenant, frozenset(scopes), f"tw_{name}", user) for name, tenant, scopes, user in KEYS]


def provider_token(tenant: str, user: str, scopes: str, **changed: Any) -> str:
    """A token of the identity provider."""
    claims = {
        "iss": "https://login.example",
        "aud": "turnwire",
        "exp": time.time() + 86_400,
        "tenant": tenant,
        "sub": user,
    }
    return jwt.encode(claims | {"scope": scopes} | changed, JWT_SECRET, "HS256")


def callers(http: httpx.Client) -> list[Caller]:
    """Everybody: with keys, with tokens of the provider, and with session tokens that the API makes."""
    found = keys()
    for tenant, user, scopes in (("acme", "ada", "read"), ("globex", "eve", "turns"), ("globex", "bob", "turns admin")):
        given = frozenset(scopes.split()) - {"admin"}
        token = provider_token(tenant, user, scopes)
        found.append(Caller(f"{user} of {tenant}", tenant, given, token, user))
    for maker, tenant, bound in (
        ("backend", "acme", {"session": "of-ada"}),
        ("backend", "acme", {"session_prefix": "of-"}),
        ("backend", "acme", {"session_prefix": "p-", "user": "bob"}),
        ("ada", "acme", {"session_prefix": "of-"}),
        ("other", "globex", {"session": "p-1"}),
        ("other", "globex", {"session": "nowhere"}),
    ):
        made = http.post("/v1/tokens", json={**bound, "scopes": ["turns"]}, headers={"x-api-key": f"tw_{maker}"})
        assert made.status_code == 200, made.text
        owner = "ada" if maker == "ada" else bound.get("user")
        session, prefix = bound.get("session"), bound.get("session_prefix")
        name = f"token {len(found)}"
        found.append(Caller(name, tenant, frozenset({"turns"}), made.json()["token"], owner, session, prefix))
    return found


def plant(http: httpx.Client) -> None:
    """Make the sessions, each with one turn that waits for a worker."""
    by_tenant = {"acme": "tw_backend", "globex": "tw_other", "default": "tw_plain"}
    for session in SESSIONS:
        body = {"message": session.text} | ({"user": session.user} if session.user else {})
        headers = {**ASYNC, "x-api-key": by_tenant[session.tenant]}
        answer = http.post(f"/v1/sessions/{session.name}/turns/0", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
