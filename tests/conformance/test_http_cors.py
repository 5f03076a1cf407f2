"""The API tells browsers which pages of other origins may use it, also when it refuses. Cookies are no credentials."""

import json
from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from stack.cluster import Stack
from tests.conformance import rawhttp
from tests.conformance.problem import check_problem
from tests.support.key_file import key_block, write_key_file
from tests.support.scene import SETTINGS

PAGE: Final = "https://app.example.com"
EVIL: Final = "https://evil.example"
SECRET: Final = "tw_of-a-test"
KEY: Final = {"Authorization": f"Bearer {SECRET}"}
ASKED: Final = {"message": "hi"}
ASK: Final = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
}


@pytest.fixture(scope="module")
def open_to_a_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run an API that asks for keys and is open to the pages of one origin."""
    directory = tmp_path_factory.mktemp("cors")
    keys = write_key_file(directory / "keys.toml", key_block("test", SECRET, "acme", ["turns"]))
    env = SETTINGS | {
        "TURNWIRE_API_KEYS_FILE": str(keys),
        "TURNWIRE_CORS_ORIGINS": f"{PAGE}, https://*.preview.example.com",
        "CHAOS_LEDGER": str(directory / "ledger"),
    }
    with Stack(directory, workers=1, env=env) as stack:
        yield stack
        assert "Traceback" not in stack.api[0].log()


@pytest.fixture
def page(open_to_a_page: Stack) -> Iterator[httpx.Client]:
    """Return a client that sends what a browser sends for a page of the allowed origin."""
    headers = {"Origin": PAGE, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    with httpx.Client(base_url=open_to_a_page.base_urls[0], headers=headers, trust_env=False, timeout=20) as client:
        yield client


def readable(response: httpx.Response) -> bool:
    """Return whether the browser shows the page this answer, with the headers that a client needs."""
    assert response.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in response.headers
    exposed = response.headers.get("access-control-expose-headers", "")
    needed = {"Location", "Content-Location", "Idempotent-Replayed", "Retry-After", "RateLimit", "RateLimit-Policy"}
    return response.headers.get("access-control-allow-origin") == PAGE and needed <= set(exposed.split(", "))


def test_a_preflight_is_answered_without_credentials(page: httpx.Client):
    for path in ("/v1/sessions/cors/turns", "/v1/sessions/cors/turns/0/events", "/nowhere"):
        response = page.options(path, headers=ASK)
        assert (response.status_code, response.content) == (204, b"")
        assert response.headers["access-control-allow-origin"] == PAGE
        assert response.headers["vary"] == "Origin"
        allowed = response.headers["access-control-allow-headers"].lower().split(", ")
        assert {
            "authorization", "content-type", "idempotency-key", "last-event-id", "prefer", "traceparent", "tracestate",
            "x-api-key", "x-request-id",
        } == set(allowed)  # fmt: skip
        assert {"GET", "POST", "DELETE"} <= set(response.headers["access-control-allow-methods"].split(", "))
        assert int(response.headers["access-control-max-age"]) >= 600
    assert page.options("/healthz", headers=ASK | {"Origin": "https://a.preview.example.com"}).status_code == 204


def test_a_preflight_of_a_foreign_page_is_refused(page: httpx.Client):
    for origin in (EVIL, "null", "", f"{PAGE}.evil.example"):
        response = page.options("/v1/sessions/cors/turns", headers=ASK | {"Origin": origin})
        check_problem(response, 403, "foreign_page")
        assert "access-control-allow-origin" not in response.headers


def test_a_page_reads_streams_records_and_refusals(page: httpx.Client):
    path = "/v1/sessions/cors-page/turns/0"
    live = page.post(path, json=ASKED, headers=KEY)
    assert json.loads(live.text.splitlines()[-1])["type"] == "session.run.completed"
    replay = page.post(path, json=ASKED, headers=KEY)
    refused = {
        400: page.get(f"{path}/events", params={"after": "nonsense"}, headers=KEY),
        401: page.get(path),
        403: page.get("/v1/admin/queue", headers=KEY),
        404: page.get("/v1/sessions/cors-page/turns/7", headers=KEY),
        405: page.put(path, headers=KEY),
        413: page.post(path, content=b"a" * 1_048_577, headers=KEY | {"Content-Type": "application/json"}),
        415: page.post(path, content=b"{}", headers=KEY),
        422: page.post(path, json={"message": ""}, headers=KEY),
    }
    for status, response in refused.items():
        assert response.status_code == status, (status, response.text)
        assert readable(response), status
    tail = page.get(f"{path}/events", headers=KEY)
    for response in (
        live,
        replay,
        tail,
        page.get(path, headers=KEY),
        page.delete("/v1/sessions/cors-page", headers=KEY),
    ):
        assert response.status_code < 300
        assert readable(response)
    assert "location" in live.headers


def test_a_page_reads_what_never_reaches_the_application(open_to_a_page: Stack):
    url = open_to_a_page.base_urls[0]
    head = f"GET /healthz HTTP/1.1\r\nHost: {url.removeprefix('http://')}\r\nOrigin: {PAGE}\r\n"
    for status, rest in {
        431: "X: " + "a" * 70_000 + "\r\n\r\n",
        400: "Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    }.items():
        response = rawhttp.send(url, (head + rest).encode())
        check_problem(response, status)
        assert readable(response)
    unknown = f"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nOrigin: {PAGE}\r\nConnection: close\r\n\r\n"
    response = rawhttp.send(url, unknown.replace("/healthz", "/v1/usage").encode())
    check_problem(response, 421, "unknown_host")
    assert readable(response)


def test_a_page_may_cancel_without_a_body(page: httpx.Client):
    path = "/v1/sessions/cors-cancel/turns/0"
    page.post(path, json=ASKED, headers=KEY)
    assert page.post(f"{path}/cancel", headers=KEY).status_code == 200
    check_problem(page.post(f"{path}/cancel", headers=KEY | {"Origin": EVIL}), 403, "foreign_page")


def test_a_foreign_page_reads_nothing(page: httpx.Client):
    for path in ("/healthz", "/v1/usage", "/openapi.json"):
        response = page.get(path, headers=KEY | {"Origin": EVIL})
        assert not readable(response)
        assert "access-control-allow-origin" not in response.headers


def test_a_program_is_told_nothing_but_that_the_answer_depends_on_the_origin(open_to_a_page: Stack):
    response = httpx.get(f"{open_to_a_page.base_urls[0]}/v1/usage", headers=KEY, trust_env=False)
    assert response.headers["vary"] == "Origin"
    assert not any(name.startswith("access-control") for name in response.headers)


def test_a_cookie_is_no_credential(page: httpx.Client):
    for name in ("Authorization", "authorization", "x-api-key", "token", "access_token", "session"):
        for value in (SECRET, f"Bearer {SECRET}", f"Bearer%20{SECRET}"):
            response = page.get("/v1/usage", headers={"Cookie": f"{name}={value}"})
            assert response.status_code == 401
            assert "set-cookie" not in response.headers
    assert page.get("/v1/usage", headers=KEY | {"Cookie": "token=nonsense"}).status_code == 200


def test_no_browser_takes_an_answer_for_something_else(page: httpx.Client):
    asked = page.post("/v1/sessions/cors-sniff/turns/0", json=ASKED, headers=KEY)
    for response in (asked, page.get("/healthz"), page.get("/openapi.json"), page.get("/docs"), page.get("/v1/usage")):
        assert response.headers.get_list("x-content-type-options") == ["nosniff"]
    assert "frame-ancestors 'none'" in page.get("/docs").headers["content-security-policy"]
