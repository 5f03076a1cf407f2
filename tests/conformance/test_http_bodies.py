"""Bad bodies are refused with a typed 4xx, and nothing is written for them."""

import json

import pytest

from tests.conformance import rawhttp
from tests.conformance.conversation import Conversation, only, say, types
from tests.conformance.problem import check_problem

JSON = ("Content-Type", "application/json")
TOO_LARGE = 1_048_576 + 1

NOT_JSON = [b"", b" ", b"hello", b"{", b'{"message":"a"', b'{"message":"a"}}', b"{'message':'a'}", b"\xff\xfe", b"\x00",
            b'{"message":"a",}', b'{"message":NaN}', b'{"message":"\xff"}', b'{"message":"\xed\xa0\x80"}',
            b'{"message":"a\nb"}', b'{"message":"\\ud800"}', b'{"message":"\\udc00\\ud800"}', b'{"message":"\\x41"}',
            b"[" * 100_000, b'{"metadata":' * 5000]  # fmt: skip
NOT_A_TURN = [
    [], "text", 7, None, True, {}, {"message": None}, {"message": 7}, {"message": ""}, {"message": ["a"]},
    {"message": {"text": "a"}}, {"Message": "a"}, {"message": "a", "extra": 1}, {"message": "a", "project": 1},
    {"message": "a", "project": ""}, {"message": "a", "model": "m" * 257}, {"message": "a", "user": []},
    {"message": "a", "metadata": []}, {"message": "a", "metadata": "x"}, {"message": "a", "on_busy": "wait"},
    {"message": "a", "on_busy": 1}, {"message": "a", "on_disconnect": "explode"},
    {"message": "a", "metadata": {"k": "v" * 20_000}},
]  # fmt: skip


def shown(body: object) -> str:
    return (body if isinstance(body, bytes) else json.dumps(body).encode())[:40].decode("latin-1")


@pytest.mark.parametrize("body", NOT_JSON, ids=shown)
def test_a_body_that_is_not_json_is_refused_and_writes_nothing(chat: Conversation, base_url: str, body: bytes):
    response = rawhttp.request(base_url, "POST", chat.path(0), [JSON], body)
    check_problem(response, {400, 422})
    check_problem(chat.get(0), 404, "not_found")
    check_problem(chat.http.get(chat.turns), 404, "not_found")


@pytest.mark.parametrize("body", NOT_A_TURN, ids=shown)
def test_json_that_is_not_a_turn_is_invalid_and_writes_nothing(chat: Conversation, body: object):
    for path in (chat.path(0), chat.turns):
        response = chat.http.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        check_problem(response, 422, "invalid")
    check_problem(chat.get(0), 404, "not_found")
    check_problem(chat.http.get(chat.turns), 404, "not_found")


@pytest.mark.parametrize("where", ["metadata", "metadata-key", "user", "project"])
def test_a_lone_surrogate_anywhere_is_refused(chat: Conversation, base_url: str, where: str):
    bodies = {
        "metadata": b'{"message":"a","metadata":{"k":["\\udfff"]}}',
        "metadata-key": b'{"message":"a","metadata":{"\\udfff":1}}',
        "user": b'{"message":"a","user":"\\ud83d"}',
        "project": b'{"message":"a","project":"\\ud83dx"}',
    }
    check_problem(rawhttp.request(base_url, "POST", chat.path(0), [JSON], bodies[where]), {400, 422})
    check_problem(chat.get(0), 404, "not_found")


def test_metadata_nested_too_deeply_is_invalid(chat: Conversation):
    nested: dict[str, object] = {}
    for _ in range(500):
        nested = {"n": nested}
    check_problem(chat.http.post(chat.path(0), json={"message": "a", "metadata": nested}), 422, "invalid")


@pytest.mark.parametrize("form", ["content-length", "chunked"])
def test_a_body_over_the_limit_is_too_large(chat: Conversation, base_url: str, form: str):
    body = rawhttp.json_bytes({"message": "x" * TOO_LARGE})
    headers = [JSON] if form == "content-length" else [JSON, ("Transfer-Encoding", "chunked")]
    sent = body if form == "content-length" else rawhttp.chunked(body)
    check_problem(rawhttp.request(base_url, "POST", chat.path(0), headers, sent), 413, "too_large")
    check_problem(chat.get(0), 404, "not_found")


def test_a_length_over_the_limit_is_refused_before_the_body_comes(chat: Conversation, base_url: str):
    headers = [JSON, ("Content-Length", str(10**12))]
    response = rawhttp.request(base_url, "POST", chat.path(0), headers, b"{")
    check_problem(response, 413, "too_large")


def test_a_message_just_below_the_limit_is_answered(chat: Conversation):
    message = "ä" * 500_000
    assert types(chat.ask(0, message=message))[-1] == "session.run.completed"
    assert chat.record()["message"] == message


def test_a_chunked_body_is_as_good_as_any(chat: Conversation, base_url: str):
    headers = [JSON, ("Transfer-Encoding", "chunked")]
    sent = rawhttp.chunked(rawhttp.json_bytes(chat.body()), size=7)
    assert rawhttp.request(base_url, "POST", chat.path(0), headers, sent).status_code == 200
    assert chat.finished()["final_text"] == "hello"


@pytest.mark.parametrize(
    "message", [" ", "\x00", "\n", "ä\u2028\U0001f600", "{}", "null", '"', "session.run.completed"]
)
def test_any_other_text_is_a_message_and_comes_back_as_it_was(chat: Conversation, message: str):
    lines = chat.ask(0, {"play": [say(message)]}, message=message)
    assert only(lines, "result") == {"finalText": message}
    record = chat.record()
    assert (record["message"], record["final_text"]) == (message, message)


def test_every_field_comes_back_in_the_record(chat: Conversation):
    fields = {"project": "p", "domain": "d", "model": "m", "user": "u\u00e4"}
    chat.ask(0, {"deep": {"list": [1, 2.5, None, True, "x"]}}, **fields)
    record = chat.record()
    assert {name: record[name] for name in fields} == fields
    assert record["metadata"]["deep"] == {"list": [1, 2.5, None, True, "x"]}


def test_null_and_absent_fields_are_the_same_input(chat: Conversation):
    chat.ask(0)
    nothing = dict.fromkeys(("project", "domain", "model", "user", "metadata"))
    response = chat.http.post(chat.path(0), json={"message": "hi", **nothing})
    assert response.status_code == 200
    assert response.headers["idempotent-replayed"] == "true"
