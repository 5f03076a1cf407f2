"""Pages of other sites can do nothing: requests that a browser sends for them without a preflight have no effect."""

import pytest

from tests.conformance import rawhttp
from tests.conformance.conversation import Conversation
from tests.conformance.problem import check_problem

FOREIGN = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
OLD_BROWSER = {"Origin": "http://evil.example"}
# `fetch` sends these for a string, a form and a URLSearchParams. Blob, ArrayBuffer and sendBeacon name no media type.
SIMPLE_TYPES = [
    "text/plain;charset=UTF-8",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    None,
]


@pytest.mark.parametrize("kind", SIMPLE_TYPES)
@pytest.mark.parametrize("headers", [FOREIGN, OLD_BROWSER, {}], ids=["foreign", "old browser", "program"])
def test_a_body_that_does_not_say_that_it_is_json_is_refused(
    chat: Conversation, base_url: str, kind: str | None, headers: dict[str, str]
):
    named = [*headers.items(), *([("Content-Type", kind)] if kind else [])]
    hold = chat.hold("waits")
    chat.submit(0, {"play": [{"hold": hold}]})
    chat.recorder.wait_held(hold)
    bodies = {
        chat.path(1): chat.body(),
        chat.turns: chat.body(),
        chat.path(0, "/cancel"): {},
        chat.path(0, "/signals/approval"): {"payload": {"approved": True}},
    }
    for path, body in bodies.items():
        response = rawhttp.request(base_url, "POST", path, named, rawhttp.json_bytes(body))
        check_problem(response, 415, "unsupported_media_type")
    assert chat.record()["status"] == "running"
    check_problem(chat.get(1), 404, "not_found")
    response = chat.http.post(chat.path(0, "/signals/approval"), json={"payload": 7})
    assert (response.status_code, response.json()["payload"]) == (
        202,
        7,
    )  # it is the first signal, so no refused request has stored one
    chat.recorder.release(hold)


@pytest.mark.parametrize("headers", [FOREIGN, OLD_BROWSER], ids=["foreign", "old browser"])
def test_a_page_of_another_site_may_not_post_without_a_body(chat: Conversation, headers: dict[str, str]):
    hold = chat.hold("waits")
    chat.submit(0, {"play": [{"hold": hold}]})
    chat.recorder.wait_held(hold)
    for path in (chat.path(0, "/cancel"), chat.path(0, "/signals/approval")):
        check_problem(chat.http.post(path, headers=headers), 403, "foreign_page")
    assert chat.record()["status"] == "running"
    own = {"Sec-Fetch-Site": "same-origin", "Origin": str(chat.http.base_url).rstrip("/")}
    assert chat.http.post(chat.path(0, "/cancel"), headers=own).status_code == 202


def test_a_page_that_may_send_json_may_send_nothing_as_json(chat: Conversation):
    """A browser sends this media type for another site only if this server, or a proxy in front of it, allows that."""
    chat.ask(0)
    asked = FOREIGN | {"Content-Type": "application/json"}
    assert chat.http.post(chat.path(0, "/cancel"), headers=asked).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example"])
def test_another_host_name_that_leads_here_opens_nothing(chat: Conversation, base_url: str, host: str, ours: object):
    chat.ask(0)
    paths = {"GET": [chat.path(0), chat.path(0, "/events"), chat.turns, "/v1/usage", "/docs", "/nowhere"]}
    paths["POST"] = [chat.path(1), chat.path(0, "/cancel")]
    paths["DELETE"] = [f"/v1/sessions/{chat.id}"]
    for method, asked in paths.items():
        for path in asked:
            request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            check_problem(rawhttp.send(base_url, request.encode()), 421, "unknown_host")
    assert chat.record()["status"] == "completed"
    probe = f"GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert rawhttp.send(base_url, probe.encode()).status_code == 200
