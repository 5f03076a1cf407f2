"""Whatever a client sends, the answer is never a 5xx, and a refusal always has a type."""

import json
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance import rawhttp
from tests.conformance.conversation import Conversation
from tests.conformance.problem import check_form

SHORT: Final = settings(
    max_examples=100,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
JSON: Final = ("Content-Type", "application/json")
METHODS: Final = st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
PATH_PARTS: Final = st.one_of(
    st.sampled_from(["v1", "sessions", "turns", "events", "0", "1", "-1", "healthz", "..", "%2e%2e", "%00", "%ff", ""]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12),
    st.binary(max_size=6).map(lambda raw: "".join(f"%{byte:02x}" for byte in raw)),
)
VALUES: Final = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40)
NAMES: Final = st.sampled_from(
    ["Accept", "Accept-Encoding", "Authorization", "Content-Type", "Content-Encoding", "Idempotency-Key",
     "Last-Event-ID", "Prefer", "Range", "If-None-Match", "Traceparent", "Cookie", "X-Forwarded-For",
     "X-Forwarded-Proto", "Forwarded"]
)  # fmt: skip
TREES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
FIELDS: Final = st.sampled_from(
    ["message", "project", "domain", "model", "user", "metadata", "on_busy", "on_disconnect", "extra"]
)
TURNS: Final = st.dictionaries(FIELDS, st.one_of(st.text(max_size=20), TREES), max_size=6)


def check(response) -> None:
    """Check that an answer is no 5xx, and that a 4xx is a problem document, unless the HTTP parser itself sent it."""
    assert response.status_code < 500, (response.status_code, response.text[:500])
    if (
        response.status_code >= 400
        and response.headers["content-type"] != "text/plain; charset=utf-8"
        and response.content
    ):
        check_form(response.status_code, response.headers, response.json())


@SHORT
@given(method=METHODS, parts=st.lists(PATH_PARTS, max_size=7), query=VALUES)
def test_any_path_and_query(base_url: str, method: str, parts: list[str], query: str):
    path = "/" + "/".join(parts) + ("?" + query.replace(" ", "+") if query else "")
    check(rawhttp.request(base_url, method, path))


@SHORT
@given(
    body=st.one_of(
        st.binary(max_size=200), TREES.map(json.dumps).map(str.encode), TURNS.map(json.dumps).map(str.encode)
    )
)
def test_any_body(chat: Conversation, base_url: str, body: bytes):
    check(rawhttp.request(base_url, "POST", chat.turns, [JSON], body))


@SHORT
@given(headers=st.lists(st.tuples(NAMES, VALUES), max_size=4), asks=st.booleans())
def test_any_header(chat: Conversation, base_url: str, headers: list[tuple[str, str]], asks: bool):
    body = rawhttp.json_bytes({"message": "hi"}) if asks else b""
    check(rawhttp.request(base_url, "POST" if asks else "GET", chat.turns, headers, body))


@SHORT
@given(index=st.one_of(st.integers().map(str), VALUES), query=VALUES, last=VALUES)
def test_any_index_cursor_and_query(base_url: str, index: str, query: str, last: str):
    path = f"/v1/sessions/fuzz/turns/{index.replace(' ', '%20')}/events?after={query.replace(' ', '+')}"
    check(rawhttp.request(base_url, "GET", path, [("Last-Event-ID", last)]))
