"""Session tokens: what they give, and that nobody can make one without a secret."""

import base64
import json
import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support.clock import Clock
from turnwire.api.access.errors import Unauthenticated
from turnwire.api.access.identity import Identity, Scope
from turnwire.api.access.session_token import TYPE, SessionTokens
from turnwire.shared.errors import SettingsError
from turnwire.shared.shared_secrets import SharedSecrets
from turnwire.shared.watched_file import LOOK_S

ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)
IDENTITY = Identity("acme", frozenset({Scope.TURNS}), "backend", user="ada", session="demo")
NAME = "TURNWIRE_TOKEN_SECRET"


@pytest.fixture
def clock() -> Clock:
    return Clock()


def tokens(secrets: str = ONE, deployment: str = "") -> SessionTokens:
    return SessionTokens(SharedSecrets(NAME, secrets, None), deployment)


def forged(secret: str = ONE, algorithm: str = "HS256", typ: str = TYPE, **changed: Any) -> str:
    now = int(time.time())
    claims = {
        "aud": "turnwire", "iat": now, "exp": now + 60, "tenant": "acme", "name": "backend", "scope": "turns",
        "session": "demo",
    } | changed  # fmt: skip
    left = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(left, secret, algorithm, headers={"typ": typ})


def test_a_token_is_as_old_as_redis_says_which_also_says_when_tokens_are_revoked(monkeypatch):
    real_s = time.time()
    for ahead_s in (-20, 0, 20):
        monkeypatch.setattr(time, "time", lambda ahead_s=ahead_s: real_s + ahead_s)
        token = tokens().make(IDENTITY, 600, int(real_s * 1000)).token
        assert tokens().verify(token).issued_s == int(real_s)


@pytest.mark.parametrize(
    "identity",
    [
        IDENTITY,
        Identity("acme", frozenset({Scope.READ}), "k", session_prefix="ada-"),
        Identity("default", frozenset({Scope.READ, Scope.TURNS}), "k", user="a/b \x7f\n é", session_prefix="x"),
    ],
)
def test_a_token_gives_the_identity_that_it_was_made_for(identity: Identity):
    made = tokens().make(identity, 60)
    token, expires_s = made.token, made.expires_s
    verified = tokens().verify(token)
    assert verified.identity == identity
    assert verified.expires_s == expires_s
    assert 0 < expires_s - time.time() <= 60


def test_the_form_that_the_forgeries_change_is_valid():
    assert tokens().verify(forged()).identity.session == "demo"


@pytest.mark.parametrize(
    "token",
    [
        forged(secret=TWO),
        forged(algorithm="HS512"),
        forged(exp=int(time.time()) - 1),
        forged(aud="turnwire other"),
        forged(session=None),
        forged(tenant=None),
        forged(tenant=1),
        forged(scope=None),
        forged(scope="everything"),
        forged(scope=["turns"]),
        forged(exp=None),
        forged(exp="soon"),
        forged(iat=int(time.time()) + 3600),
        forged(nbf=int(time.time()) + 3600),
        forged()[:-2],
        forged().rpartition(".")[0] + ".",
        forged() + "x",
        "a.b.c",
        "..",
        "",
        "\udcff.\udcff.\udcff",
    ],
    ids=lambda token: str(len(token)),
)
def test_anything_else_is_refused_in_the_same_words(token: str):
    with pytest.raises(Unauthenticated) as refused:
        tokens().verify(token)
    assert str(refused.value) in {"the credentials are not valid", "the token has expired"}


def test_a_token_of_a_process_whose_clock_is_ahead_is_taken():
    assert tokens().verify(forged(iat=int(time.time()) + 5)).identity.session == "demo"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None])
def test_a_token_without_a_signature_is_refused(algorithm: str | None):
    header = {"typ": TYPE, "alg": algorithm}
    payload = forged().split(".")[1]
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    for signature in ("", "x", forged().split(".")[2]):
        with pytest.raises(Unauthenticated):
            tokens().verify(f"{head}.{payload}.{signature}")


def test_a_changed_claim_breaks_the_signature():
    head, payload, signature = forged().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    for name, value in (("tenant", "other"), ("session", "other"), ("scope", "admin")):
        changed = base64.urlsafe_b64encode(json.dumps(claims | {name: value}).encode()).decode().rstrip("=")
        with pytest.raises(Unauthenticated):
            tokens().verify(f"{head}.{changed}.{signature}")


def test_no_scope_beyond_turns_can_be_given_even_by_who_has_the_secret():
    assert tokens().verify(forged(scope="admin tokens read")).identity.scopes == {Scope.READ}


def test_a_token_of_another_deployment_is_refused():
    token = tokens(deployment="one").make(IDENTITY, 60).token
    with pytest.raises(Unauthenticated):
        tokens(deployment="two").verify(token)


def test_both_secrets_verify_while_they_are_rotated():
    old = tokens(ONE).make(IDENTITY, 60).token
    new = tokens(f"{TWO} {ONE}").make(IDENTITY, 60).token
    assert tokens(f"{TWO} {ONE}").verify(old).identity == IDENTITY
    assert tokens(TWO).verify(new).identity == IDENTITY
    with pytest.raises(Unauthenticated):
        tokens(TWO).verify(old)


def test_secrets_of_a_file_are_rotated_without_a_restart(tmp_path: Path, clock: Clock):
    path = tmp_path / "secrets"
    path.write_text(ONE + "\n", encoding="utf-8")
    made = SessionTokens(SharedSecrets(NAME, None, str(path), clock=clock), "")
    old = made.make(IDENTITY, 60).token
    before = made.generation
    path.write_text(f"{TWO}\n{ONE}\n", encoding="utf-8")
    clock.now_s += LOOK_S
    assert made.generation is not before
    assert made.verify(old).identity == IDENTITY
    new = made.make(IDENTITY, 60).token
    assert tokens(TWO).verify(new).identity == IDENTITY


@pytest.mark.parametrize(
    ("text", "reason"), [("", "one secret"), ("short", "characters"), (f"{ONE} {TWO} {THREE}", "two")]
)
def test_secrets_that_do_not_fit_are_refused_and_not_shown(text: str, reason: str):
    with pytest.raises(SettingsError, match=reason) as refused:
        SharedSecrets(NAME, text, None)
    assert not text or text not in str(refused.value)


def test_nothing_of_a_token_is_logged(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    for token in (forged(), forged(secret=TWO)):
        with suppress(Unauthenticated):
            tokens().verify(token)
    assert caplog.text == ""
