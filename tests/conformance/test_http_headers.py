"""Content-Type, Content-Encoding, Accept and Prefer: which values are accepted or refused, and what they change."""

import pytest

from tests.conformance.conversation import Conversation, parse, types
from tests.conformance.problem import check_problem

NOT_JSON_TYPES = [
    "text/plain", "application/xml", "multipart/form-data", "application/x-www-form-urlencoded", "json", "a/b;c=d",
    "application/json;charset=latin-1", "application/json; charset=utf-16", "application/jsonx",
]  # fmt: skip
JSON_TYPES = ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON;charset=UTF-8"]
NOT_OFFERED = ["text/html", "image/*", "application/xml;q=1", "nonsense", "application/x-ndjson;q=0"]
CHOICES = [
    ("", "application/x-ndjson"),
    ("*/*", "application/x-ndjson"),
    ("text/html, */*;q=0.1", "application/x-ndjson"),
    ("application/*", "application/x-ndjson"),
    ("text/*", "text/event-stream"),
    ("text/event-stream", "text/event-stream"),
    ("application/x-ndjson;q=0.5, text/event-stream", "text/event-stream"),
    ("Application/JSON", "application/json"),
    ("application/json;q=0.9, text/event-stream;q=0.8", "application/json"),
]


@pytest.mark.parametrize("value", NOT_JSON_TYPES)
def test_a_body_of_another_media_type_is_refused(chat: Conversation, value: str):
    check_problem(chat.post(0, headers={"Content-Type": value}), 415, "unsupported_media_type")
    check_problem(chat.get(0), 404, "not_found")


@pytest.mark.parametrize("value", JSON_TYPES)
def test_json_with_or_without_its_charset_is_accepted(chat: Conversation, value: str):
    assert chat.post(0, headers={"Content-Type": value}).status_code == 200


@pytest.mark.parametrize("value", ["gzip", "br", "deflate", "nonsense"])
def test_a_compressed_body_is_refused(chat: Conversation, value: str):
    check_problem(chat.post(0, headers={"Content-Encoding": value}), 415, "unsupported_media_type")
    check_problem(chat.get(0), 404, "not_found")


@pytest.mark.parametrize("value", NOT_OFFERED)
def test_an_answer_that_cannot_be_given_is_not_acceptable_and_writes_nothing(chat: Conversation, value: str):
    check_problem(chat.post(0, headers={"Accept": value}), 406, "not_acceptable")
    check_problem(chat.get(0), 404, "not_found")
    chat.ask(0)
    for path in (chat.path(0, "/events"), chat.path(0), chat.turns):
        check_problem(chat.http.get(path, headers={"Accept": value}), 406, "not_acceptable")


@pytest.mark.parametrize(("value", "kind"), CHOICES)
def test_the_client_chooses_the_form_of_the_answer(chat: Conversation, value: str, kind: str):
    response = chat.post(0, headers={"Accept": value})
    assert response.status_code in {200, 202}
    assert response.headers["content-type"].split(";")[0] == kind
    chat.finished()


def test_a_stream_may_not_be_stored_or_buffered_and_says_where_its_turn_is(chat: Conversation):
    live, replay, tail = chat.post(0), chat.post(0), chat.http.get(chat.path(0, "/events"))
    for response in (live, replay, tail):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in response.headers
    assert live.headers["location"] == replay.headers["location"] == chat.path(0)
    assert chat.get(0).headers["cache-control"] == "no-store"
    assert chat.http.get(chat.turns).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("headers", [{"Prefer": "respond-async"}, {"Accept": "application/json"}])
def test_a_client_that_does_not_wait_gets_202_where_and_the_record(chat: Conversation, headers: dict[str, str]):
    hold = chat.hold("open")
    response = chat.post(0, {"play": [{"hold": hold}]}, headers)
    assert response.status_code == 202
    assert response.headers["location"] == chat.path(0)
    assert response.headers["content-type"] == "application/json"
    record = response.json()
    assert (record["run_id"], record["message"]) == (chat.run_id(0), "hi")
    assert record["status"] in {"queued", "running"}
    chat.recorder.release(hold)
    assert chat.http.get(response.headers["location"], params={"wait": 20}).json()["status"] == "completed"


def test_prefer_is_a_list_and_other_preferences_are_ignored(chat: Conversation):
    assert chat.post(0, headers={"Prefer": "wait=5, Respond-Async; x=1"}).status_code == 202
    streamed = chat.post(1, headers={"Prefer": "return=minimal"})
    assert types(parse(streamed.content))[-1] == "session.run.completed"


@pytest.mark.parametrize("headers", [{"Prefer": "respond-async"}, {"Accept": "application/json"}])
def test_a_completed_turn_answers_200_with_its_record(chat: Conversation, headers: dict[str, str]):
    chat.ask(0)
    response = chat.post(0, headers=headers)
    assert response.status_code == 200
    assert response.headers["idempotent-replayed"] == "true"
    assert response.json() == chat.record()


@pytest.mark.parametrize("value", ["garbage", "00-0-0-00", "", "a,b"])
def test_a_broken_traceparent_is_ignored(chat: Conversation, value: str):
    assert chat.http.post(chat.path(0), json=chat.body(), headers={"Traceparent": value}).status_code == 200
