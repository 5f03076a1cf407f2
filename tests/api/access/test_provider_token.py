"""Tokens of an identity provider: which count, whose they are, and what happens when its keys change or are away."""

import asyncio
import base64
import hmac
import json
import time
from typing import Any

import httpx
import jwt
import pytest

from tests.support.clock import Clock
from tests.support.provider import AUDIENCE, ISSUER, Provider, claims
from turnwire.api.access.errors import KeysUnavailable, Unauthenticated
from turnwire.api.access.identity import Identity, Scope
from turnwire.api.access.key_set import FRESH_S, MAX_BYTES, PAUSE_S, USABLE_S, KeySet
from turnwire.api.access.provider_token import ProviderTokens
from turnwire.api.access.verified import LEEWAY_S, header_of
from turnwire.shared.errors import SettingsError
from turnwire.shared.settings import Settings

SECRET = "s" * 40
URL = "https://login.example/keys"


@pytest.fixture
def provider() -> Provider:
    return Provider("one", "two")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def takes(provider: Provider, clock: Clock | None = None, **settings: Any) -> ProviderTokens:
    made = ProviderTokens(Settings(jwt_jwks_url=URL, jwt_issuer=ISSUER, jwt_audience=AUDIENCE, **settings))
    made._keys = KeySet(URL, clock=clock or time.monotonic, transport=httpx.MockTransport(provider.handle))
    return made


def shares(secret: str = SECRET, **settings: Any) -> ProviderTokens:
    return ProviderTokens(Settings(jwt_secret=secret, jwt_issuer=ISSUER, jwt_audience=AUDIENCE, **settings))


def signed(algorithm: str = "HS256", secret: str = SECRET, **changed: Any) -> str:
    return jwt.encode(claims(**changed), secret, algorithm)


def made_by_hand(header: dict[str, Any], secret: bytes) -> str:
    """A token whose header says anything; the library refuses to make it."""
    parts = [encoded(json.dumps(part).encode()) for part in (header, claims())]
    return ".".join([*parts, encoded(hmac.digest(secret, ".".join(parts).encode(), "sha256"))])


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


async def identity(tokens: ProviderTokens, token: str) -> Identity:
    return (await tokens.verify(token, header_of(token))).identity


async def test_a_token_names_its_tenant_its_user_and_its_scopes(provider: Provider):
    expected = Identity("acme", frozenset({Scope.TURNS}), "jwt", user="ada")
    assert await identity(takes(provider), provider.token("one")) == expected
    assert await identity(shares(), signed()) == expected


@pytest.mark.parametrize(
    ("changed", "settings", "seen"),
    [
        ({"scope": "openid read turns profile"}, {}, ("acme", "ada", {"read", "turns"})),
        ({"scope": ["read", 1, None]}, {}, ("acme", "ada", {"read"})),
        ({"scope": "admin tokens"}, {}, ("acme", "ada", {"tokens"})),
        ({"scope": None}, {}, ("acme", "ada", set())),
        ({"org": "b"}, {"jwt_tenant_claim": "org"}, ("b", "ada", {"turns"})),
        ({"https://a.b/org": "b"}, {"jwt_tenant_claim": "https://a.b/org"}, ("b", "ada", {"turns"})),
        ({"realm": {"roles": ["read"]}}, {"jwt_scope_claim": "realm.roles"}, ("acme", "ada", {"read"})),
        ({"tenant": None}, {"jwt_tenant": "fixed"}, ("fixed", "ada", {"turns"})),
        ({"sub": None}, {"jwt_user_claim": "-"}, ("acme", None, {"turns"})),
        ({"exp": lambda: time.time() - LEEWAY_S / 2}, {}, ("acme", "ada", {"turns"})),
    ],
)
async def test_settings_say_which_claims_count(changed: dict[str, Any], settings: dict[str, Any], seen: Any):
    found = await identity(shares(**settings), signed(**changed))
    assert (found.tenant, found.user, set(found.scopes)) == seen


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://other.example"}, {"iss": None}, {"aud": "other"}, {"aud": None}, {"exp": None},
        {"exp": 1}, {"nbf": lambda: time.time() + 100}, {"tenant": None}, {"tenant": "a~b"},
        {"tenant": 7}, {"tenant": ""},
        {"sub": None}, {"sub": ""}, {"sub": "x" * 257}, {"sub": 7}, {"exp": "x"}, {"exp": 10**400},
        {"scope": "turns", "tenant": {"a": "b"}},
    ],
    ids="-".join,
)  # fmt: skip
async def test_a_token_that_is_not_for_us_or_not_of_somebody_is_refused(provider: Provider, changed: dict[str, Any]):
    for tokens, token in ((takes(provider), provider.token("one", **changed)), (shares(), signed(**changed))):
        with pytest.raises(Unauthenticated):
            await identity(tokens, token)


async def test_only_the_algorithms_of_the_kind_of_key_count(provider: Provider):
    public = json.loads(provider.handle(httpx.Request("GET", URL)).content)["keys"][0]
    for secret in (json.dumps(public), SECRET):  # the public key as a secret is the oldest forgery
        forged = made_by_hand({"alg": "HS256", "kid": "one"}, secret.encode())
        with pytest.raises(Unauthenticated):
            await identity(takes(provider), forged)
    with pytest.raises(Unauthenticated):
        await identity(shares(), provider.token("one"))
    with pytest.raises(Unauthenticated):
        await identity(shares(jwt_algorithms="HS512"), signed("HS256"))


@pytest.mark.parametrize("algorithm", ["none", "NONE", None, 7, "", "HS256 ", "ES257"])
async def test_no_algorithm_is_no_algorithm(provider: Provider, algorithm: object):
    header = encoded(json.dumps({"alg": algorithm, "kid": "one"}).encode())
    for real in (provider.token("one"), signed()):
        payload, signature = real.split(".")[1:]
        for end in ("", signature):
            for tokens in (takes(provider), shares()):
                with pytest.raises(Unauthenticated):
                    await identity(tokens, f"{header}.{payload}.{end}")


async def test_two_secrets_verify_while_they_are_rotated():
    both = shares(f"{'n' * 40} {SECRET}")
    assert (await identity(both, signed())).user == "ada"
    assert (await identity(both, signed(secret="n" * 40))).user == "ada"
    with pytest.raises(Unauthenticated):
        await identity(both, signed(secret="x" * 40))


async def test_keys_are_fetched_once_for_many_tokens(provider: Provider, clock: Clock):
    tokens = takes(provider, clock)
    found = await asyncio.gather(*(identity(tokens, provider.token(name)) for name in ("one", "two") * 5))
    assert {each.user for each in found} == {"ada"}
    assert provider.fetches == 1


async def test_a_new_key_is_fetched_when_its_first_token_comes(provider: Provider, clock: Clock):
    provider.publish("one")
    tokens = takes(provider, clock)
    await identity(tokens, provider.token("one"))
    before = tokens.generation
    provider.publish("one", "two")
    clock.now_s += PAUSE_S
    assert (await identity(tokens, provider.token("two"))).user == "ada"
    assert (await identity(tokens, provider.token("one"))).user == "ada"
    assert provider.fetches == 2
    assert tokens.generation is not before  # so nothing that was remembered counts any more


async def test_key_ids_that_somebody_invents_cause_no_flood_of_fetches(provider: Provider, clock: Clock):
    tokens = takes(provider, clock)
    for number in range(50):
        with pytest.raises(Unauthenticated):
            await identity(tokens, provider.token("one", {"kid": f"invented-{number}"}))
    assert provider.fetches == 1
    clock.now_s += PAUSE_S
    with pytest.raises(Unauthenticated):
        await identity(tokens, provider.token("one", {"kid": "invented"}))
    assert provider.fetches == 2


async def test_a_key_that_the_provider_has_withdrawn_counts_no_more_when_the_set_was_fetched_again(
    provider: Provider, clock: Clock
):
    tokens = takes(provider, clock)
    await identity(tokens, provider.token("two"))
    provider.publish("one")
    clock.now_s += FRESH_S
    await identity(tokens, provider.token("one"))  # begins the fetch, and does not wait for it
    assert tokens._keys is not None
    assert tokens._keys._fetch is not None
    await tokens._keys._fetch
    with pytest.raises(Unauthenticated):
        await identity(tokens, provider.token("two"))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        httpx.Response(500),
        httpx.Response(302, headers={"location": URL}),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, json={"keys": 7}),
        httpx.Response(200, content=b"x" * (MAX_BYTES + 1)),
    ],
    ids=["away", "500", "302", "html", "other", "large"],
)
async def test_without_keys_nobody_is_let_in_and_the_client_may_try_again(
    provider: Provider, clock: Clock, answer: httpx.Response | None, caplog: pytest.LogCaptureFixture
):
    good, provider.answer = provider.answer, answer
    tokens = takes(provider, clock)
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            await identity(tokens, provider.token("one"))
    assert provider.fetches == 1
    assert caplog.text.count("could not be fetched") == 1
    provider.answer = good
    clock.now_s += PAUSE_S
    assert (await identity(tokens, provider.token("one"))).user == "ada"


async def test_a_token_of_a_new_key_may_be_tried_again_while_the_provider_is_away(provider: Provider, clock: Clock):
    provider.publish("one")
    tokens = takes(provider, clock)
    await identity(tokens, provider.token("one"))
    provider.answer = None
    clock.now_s += PAUSE_S
    for _ in range(2):  # it asks the provider once, and then knows that this has failed
        with pytest.raises(KeysUnavailable):
            await identity(tokens, provider.token("two"))
    assert (await identity(tokens, provider.token("one"))).user == "ada"
    assert provider.fetches == 2


@pytest.mark.parametrize("library_knows_it", [True, False])
async def test_an_extension_that_must_be_understood_is_refused(provider: Provider, monkeypatch, library_knows_it: bool):
    if not library_knows_it:  # before 2.12
        monkeypatch.setattr(jwt.PyJWS, "_validate_crit", lambda *_: None, raising=False)
    token = provider.token("one", {"crit": ["x"], "x": 1})
    with pytest.raises(Unauthenticated):
        await identity(takes(provider), token)


async def test_a_proxy_that_cannot_be_used_makes_the_keys_unavailable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")  # httpx needs another library for it
    with pytest.raises(KeysUnavailable):
        await KeySet(URL).key("one", "RS256")


async def test_keys_count_for_an_hour_while_the_provider_is_away(provider: Provider, clock: Clock):
    tokens = takes(provider, clock)
    await identity(tokens, provider.token("one"))
    provider.answer = None
    clock.now_s += USABLE_S - 1
    assert (await identity(tokens, provider.token("one"))).user == "ada"
    clock.now_s += 1
    with pytest.raises(KeysUnavailable):
        await identity(tokens, provider.token("one"))
    assert tokens.generation is None
    await tokens.close()


@pytest.mark.parametrize("fields", [
    {"use": "enc"}, {"alg": "ES384"}, {"kty": "RSA"}, {"kty": "oct", "k": "AAAA"}, {"x": "?"}, {"key_ops": ["sign"]},
    {"key_ops": 7},
])  # fmt: skip
async def test_a_key_for_something_else_verifies_nothing(provider: Provider, fields: dict[str, str]):
    provider.publish("one", **fields)
    with pytest.raises(Unauthenticated):
        await identity(takes(provider), provider.token("one"))


async def test_a_token_without_a_key_id_must_leave_no_choice(provider: Provider):
    nameless = jwt.encode(claims(), provider.keys["one"], "ES256")
    with pytest.raises(Unauthenticated):
        await identity(takes(provider), nameless)
    provider.publish("one")
    assert (await identity(takes(provider), nameless)).user == "ada"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"JWT_SECRET": SECRET}, "JWT_ISSUER and TURNWIRE_JWT_AUDIENCE"),
        ({"JWT_SECRET": SECRET, "JWT_SECRET_FILE": "f"}, "set only one"),
        ({"JWT_SECRET": SECRET, "JWT_JWKS_URL": URL}, "set only one"),
        ({"JWT_JWKS_URL": "http://login.example/keys", "JWT_ISSUER": "i", "JWT_AUDIENCE": "a"}, "https"),
        ({"TOKEN_SECRET": SECRET}, "TURNWIRE_TOKEN_SECRET needs"),
        ({"AUTH": "none", "JWT_SECRET": SECRET, "JWT_ISSUER": "i", "JWT_AUDIENCE": "a"}, "TURNWIRE_AUTH"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(environ: dict[str, str], named: str):
    with pytest.raises(SettingsError, match=named) as refused:
        Settings.from_env({f"TURNWIRE_{name}": value for name, value in environ.items()})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "settings", [{"jwt_algorithms": "none"}, {"jwt_algorithms": "RS256"}, {"jwt_algorithms": ","}, {"secret": "short"}]
)
def test_an_algorithm_or_a_secret_that_does_not_fit_is_refused_at_the_start(settings: dict[str, str]):
    with pytest.raises(SettingsError):
        shares(**settings)
