"""Bad indexes, unknown paths and unknown methods are refused with a typed 4xx, and nothing is written for them."""

import pytest

from tests.conformance import rawhttp
from tests.conformance.conversation import Conversation
from tests.conformance.problem import check_problem

BAD_INDEXES = ["-1", "00", "01", "+1", "1.0", "1e3", "0x1", "a", "%20", "2147483648", "9" * 400, "%D9%A1", "1%0A", "~"]
UNKNOWN_PATHS = [
    "/v1", "/v1/sessions", "/v1/sessions/s", "/v1/sessions//turns", "/v2/sessions/s/turns/0", "/v1/sessions/s/turns/",
    "/v1/sessions/s/turns/0/", "/v1/sessions/s/turns/0/nothing", "/v1/sessions/a/b/turns/0",
    "/v1/sessions/a%2Fb/turns/0", "/v1/sessions/s/turns/0;a=b", "/healthz/", "//healthz",
]  # fmt: skip


@pytest.mark.parametrize("index", BAD_INDEXES)
def test_a_bad_index_is_refused_and_writes_nothing(chat: Conversation, index: str):
    path = f"{chat.turns}/{index}"
    for response in (chat.http.post(path, json=chat.body()), chat.http.get(path), chat.http.get(f"{path}/events")):
        check_problem(response, 400, "bad_request")
    check_problem(chat.http.get(chat.turns), 404, "not_found")


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
def test_an_unknown_path_is_refused(base_url: str, path: str):
    response = rawhttp.request(base_url, "POST", path, [("Content-Type", "application/json")], b'{"message":"a"}')
    check_problem(response, {400, 404, 405})


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_a_method_that_a_path_does_not_know_is_405_with_allow(chat: Conversation, method: str):
    chat.ask(0)
    for path, allowed in [(chat.path(0), {"GET", "POST"}), (chat.path(0, "/events"), {"GET"})]:
        response = chat.http.request(method, path)
        check_problem(response, 405, "method_not_allowed")
        assert {name.strip() for name in response.headers["allow"].split(",")} >= allowed
    check_problem(chat.http.request("POST", chat.path(0, "/events"), json={}), 405, "method_not_allowed")
    assert chat.record()["status"] == "completed"


@pytest.mark.parametrize("path", ["", "/healthz"])
def test_head_answers_like_get_without_a_body(chat: Conversation, path: str):
    chat.ask(0)
    target = path or chat.path(0)
    head, get = chat.http.head(target), chat.http.get(target)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("request_line", [b"GET", b"GET / HTTP/9.9", b"\x00\x01", b"GET /\xff HTTP/1.1"])
def test_what_is_not_http_gets_no_5xx(base_url: str, request_line: bytes):
    response = rawhttp.send(base_url, request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert 400 <= response.status_code < 500


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_answer_200_and_are_not_stored(chat: Conversation, path: str):
    response = chat.http.get(path)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
