"""How credentials are presented, what is refused, and that none of them ever stands in a log or an answer."""

import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from stack.cluster import Stack
from tests.access.world import ASYNC, JWT_SECRET, TOKEN_SECRET, plant, provider_token
from tests.stack.watching import until
from tests.support.key_file import key_block, write_key_file

TURN = "/v1/sessions/of-ada/turns/0"
LIMIT_S = 30
CHALLENGE = 'Bearer realm="turnwire"'


def session_token(http: httpx.Client, maker: str = "backend", **body: Any) -> str:
    asked = {"session": "of-ada", "scopes": ["read"]} | body
    made = http.post("/v1/tokens", json=asked, headers={"x-api-key": f"tw_{maker}"})
    assert made.status_code == 200, made.text
    token: str = made.json()["token"]
    return token


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "tw_backend"},
        {"Authorization": "Bearer tw_backend"},
        {"Authorization": "bearer  tw_backend"},
        {"Authorization": f"Bearer {provider_token('acme', 'ada', 'read')}"},
        {"x-api-key": provider_token("acme", "ada", "read")},
    ],
)
def test_a_key_or_a_token_is_sent_in_either_header(http: httpx.Client, headers: dict[str, str]):
    plant(http)
    assert http.get(TURN, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "presented"),
    [
        ([], False),
        ([("x-api-key", "")], True),
        ([("x-api-key", "tw_backen")], True),
        ([("x-api-key", "tw_backend"), ("Authorization", "Bearer tw_backend")], True),
        ([("x-api-key", "tw_backend"), ("x-api-key", "tw_backend")], True),
        ([("Authorization", "Basic dHdfYmFja2VuZDo=")], True),
        ([("Authorization", "tw_backend")], True),
        ([("Authorization", "Bearer")], True),
        ([("Cookie", "x-api-key=tw_backend; token=tw_backend")], False),
    ],
)
def test_without_clear_credentials_the_answer_is_401(
    http: httpx.Client, headers: list[tuple[str, str]], presented: bool
):
    answer = http.get(TURN, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == CHALLENGE + (', error="invalid_token"' if presented else "")
    assert "tw_backen" not in answer.text


def test_what_needs_no_credentials_needs_none(http: httpx.Client):
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs", "/", "/page/main.js"):
        assert http.get(path).status_code == 200
        assert http.get(path, headers={"x-api-key": "wrong"}).status_code == 200


def test_a_url_may_hold_a_session_token_where_a_stream_is_followed_and_nothing_else(http: httpx.Client):
    plant(http)
    token = session_token(http)
    for path in (f"{TURN}/events", "/v1/sessions/of-ada/events"):
        with http.stream("GET", path, params={"token": token}) as stream:
            assert stream.status_code == 200
    foreign = http.get("/v1/sessions/of-bob/events", params={"token": token})
    assert foreign.status_code == 404
    assert http.get(TURN, params={"token": token}).status_code == 401
    assert http.post(f"{TURN}/cancel", params={"token": token}, json={}).status_code == 401
    for other in ("tw_backend", provider_token("acme", "ada", "read"), ""):
        assert http.get(f"{TURN}/events", params={"token": other}).status_code == 401
    both = http.get(f"{TURN}/events", params={"token": token}, headers={"x-api-key": "tw_backend"})
    assert both.status_code == 401
    assert http.get(f"{TURN}/events?token={token}&token={token}").status_code == 401


@pytest.mark.parametrize(
    ("maker", "body", "status"),
    [
        ("backend", {"session": "a", "session_prefix": "a"}, 422),
        ("backend", {}, 422),
        ("backend", {"session": "a~b"}, 422),
        ("backend", {"session_prefix": ""}, 422),
        ("backend", {"session": "a", "scopes": []}, 422),
        ("backend", {"session": "a", "scopes": ["admin"]}, 422),
        ("backend", {"session": "a", "scopes": ["tokens"]}, 422),
        ("backend", {"session": "a", "ttl_s": 0}, 422),
        ("backend", {"session": "a", "ttl_s": 86_401}, 422),
        ("backend", {"session": "a", "tenant": "globex"}, 422),
        ("ada", {"session": "a", "user": "bob"}, 403),
        ("reader", {"session": "a"}, 403),
        ("operator", {"session": "a"}, 403),
        ("ada", {"session": "a", "user": "ada"}, 200),
        ("backend", {"session": "a", "ttl_s": 86_400}, 200),
    ],
)
def test_nobody_makes_a_token_that_may_do_more_than_they_may(
    http: httpx.Client, maker: str, body: dict[str, Any], status: int
):
    asked = {"scopes": ["read"]} | body
    assert http.post("/v1/tokens", json=asked, headers={"x-api-key": f"tw_{maker}"}).status_code == status


def test_a_session_token_makes_no_tokens_and_expires(http: httpx.Client):
    token = session_token(http, scopes=["read", "turns"], ttl_s=1)
    headers = {"x-api-key": token}
    plant(http)
    made = http.post("/v1/tokens", json={"session": "of-ada", "scopes": ["read"]}, headers=headers)
    assert made.status_code in {401, 403}
    assert until(lambda: http.get(TURN, headers=headers).status_code == 401, LIMIT_S)
    assert http.get(TURN, headers=headers).json()["detail"] == "the token has expired"


def test_a_turn_of_bound_credentials_is_their_users(http: httpx.Client):
    path = f"/v1/sessions/new-{time.time_ns()}/turns"
    headers = {"x-api-key": "tw_ada", **ASYNC}
    asked = http.post(path, json={"message": "m"}, headers=headers)
    assert (asked.status_code, asked.json()["user"]) == (202, "ada")
    assert http.post(path, json={"message": "m", "user": "bob"}, headers=headers).status_code == 403
    assert http.post(path, json={"message": "m"}, headers={"x-api-key": "tw_bob", **ASYNC}).status_code == 404


def test_a_key_that_is_taken_out_of_the_file_opens_nothing_a_second_later(guarded: Stack, http: httpx.Client):
    path = Path(guarded.api[0].env["TURNWIRE_API_KEYS_FILE"])
    before = path.read_text(encoding="utf-8")
    headers = {"x-api-key": "tw_new"}
    assert http.get("/v1/usage", headers=headers).status_code == 401
    write_key_file(path, before, key_block("new", "tw_new", "acme", ["read"]))
    assert until(lambda: http.get("/v1/usage", headers=headers).status_code == 200, LIMIT_S)
    write_key_file(path, before)
    assert until(lambda: http.get("/v1/usage", headers=headers).status_code == 401, LIMIT_S)


def test_no_secret_stands_in_a_log_or_an_answer(guarded: Stack, http: httpx.Client):
    plant(http)
    good, foreign = session_token(http), jwt.encode({"tenant": "acme"}, "x" * 64, "HS256")
    secrets = ["tw_backend", "tw_planted_wrong_key_0123456789", good, foreign, provider_token("acme", "ada", "read")]
    secrets += [TOKEN_SECRET, JWT_SECRET]
    shown = []
    for secret in secrets:
        for headers in (
            {"x-api-key": secret},
            {"Authorization": f"Bearer {secret}"},
            {"Authorization": f"Basic {secret}"},
        ):
            shown += [
                http.get(TURN, headers=headers),
                http.get("/v1/nothing", headers=headers),
                http.put(TURN, headers=headers),
                http.post(TURN, headers=headers, content=b"{"),
                http.post(TURN, headers=headers, json={"message": 7}),
                http.get(TURN, headers={**headers, "Accept": "image/png"}),
            ]
        shown += [
            http.get(f"{TURN}/events?token={secret}&after=x"),
            http.get(f"/v1/sessions/{secret}~/turns/0", headers={"x-api-key": "tw_backend"}),
            http.get(f"/v1/sessions/a/turns/0?wait={secret}", headers={"x-api-key": "tw_backend"}),
        ]
    texts = [answer.text + str(answer.headers) for answer in shown] + [guarded.api[0].log()]
    assert [text for text in texts for secret in secrets if secret in text] == []
