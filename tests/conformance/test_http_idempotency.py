"""Asking again costs nothing: Idempotency-Key at the next index, replay of a finished turn."""

import pytest

from tests.conformance import rawhttp
from tests.conformance.conversation import Conversation, bare, only, say, text, types
from tests.conformance.problem import check_problem

JSON = ("Content-Type", "application/json")


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a b", b"\xc3\xa4", b"a\tb"])
def test_a_bad_idempotency_key_is_refused_and_writes_nothing(chat: Conversation, base_url: str, key: bytes):
    headers: list[tuple[str, str | bytes]] = [JSON, ("Idempotency-Key", key)]
    response = rawhttp.request(base_url, "POST", chat.turns, headers, rawhttp.json_bytes(chat.body()))
    check_problem(response, 400, "bad_request")
    check_problem(chat.http.get(chat.turns), 404, "not_found")


def test_two_idempotency_keys_are_refused(chat: Conversation, base_url: str):
    headers = [JSON, ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    response = rawhttp.request(base_url, "POST", chat.turns, headers, rawhttp.json_bytes(chat.body()))
    check_problem(response, 400, "bad_request")


def test_the_same_key_and_input_is_the_same_turn(chat: Conversation):
    key = {"Idempotency-Key": "k" * 255}
    first = chat.post(None, headers=key, message="one")
    second = chat.post(None, headers=key, message="one")
    assert first.headers["location"] == second.headers["location"] == chat.path(0)
    assert second.headers["idempotent-replayed"] == "true"
    assert types(chat.ask(None, message="two"))[-1] == "session.run.completed"
    assert chat.record(1)["message"] == "two"
    assert len(chat.http.get(chat.turns).json()["turns"]) == 2


def test_the_same_key_attaches_while_the_turn_runs(chat: Conversation):
    hold, key = chat.hold("open"), {"Idempotency-Key": "open", "Prefer": "respond-async"}
    first = chat.post(None, {"play": [{"hold": hold}]}, key)
    second = chat.post(None, {"play": [{"hold": hold}]}, key)
    assert first.status_code == second.status_code == 202
    assert first.headers["location"] == second.headers["location"]
    chat.recorder.release(hold)
    assert chat.finished()["status"] == "completed"
    assert len(chat.recorder.calls(chat.run_id(0), "produce")) == 1


def test_the_same_key_with_other_input_is_a_mismatch_and_takes_no_index(chat: Conversation):
    key = {"Idempotency-Key": "key-1"}
    chat.post(None, headers=key, message="one")
    check_problem(chat.post(None, headers=key, message="two"), 422, "input_mismatch")
    assert len(chat.http.get(chat.turns).json()["turns"]) == 1


def test_a_key_belongs_to_its_session(chat: Conversation, other_chat: Conversation):
    key = {"Idempotency-Key": "shared"}
    chat.post(None, headers=key, message="one")
    assert other_chat.post(None, headers=key, message="two").status_code == 200


def test_without_a_key_every_request_is_a_turn_of_its_own(chat: Conversation):
    locations = [chat.post(None).headers["location"] for _ in range(3)]
    assert locations == [chat.path(0), chat.path(1), chat.path(2)]


def test_the_next_index_follows_the_highest_one(chat: Conversation):
    chat.ask(5)
    assert chat.post(None).headers["location"] == chat.path(6)


def test_a_replay_is_identical_however_often_it_is_asked_for(chat: Conversation):
    live = chat.post(0, {"play": [say("a"), say("b")]})
    assert "idempotent-replayed" not in live.headers
    replays = [chat.post(0) for _ in range(3)]
    assert len({response.content for response in replays}) == 1
    assert all(response.headers["idempotent-replayed"] == "true" for response in replays)
    assert len(chat.recorder.calls(chat.run_id(0), "produce")) == 1


def test_a_replay_changes_nothing(chat: Conversation):
    chat.ask(0)
    record, log = chat.record(), chat.events()
    chat.ask(0)
    chat.post(0, headers={"Prefer": "respond-async"})
    assert (chat.record(), chat.events()) == (record, log)


def test_a_replay_as_server_sent_events_has_no_ids(chat: Conversation):
    chat.ask(0)
    response = chat.post(0, headers={"Accept": "text/event-stream"})
    assert response.headers["idempotent-replayed"] == "true"
    assert b"\nid:" not in response.content
    assert response.content.count(b"\nevent: ") == 3


def test_the_log_of_a_failed_turn_is_kept_until_it_is_asked_again(chat: Conversation):
    broken = [say("old"), {"raise": {"kind": "plain", "message": "broke"}}]
    order = {"plays": [broken, [say("new")]]}
    failed = chat.ask(0, order)
    assert chat.events() == failed
    again = chat.ask(0, order)
    assert chat.events() == again
    assert bare(again)[-1]["type"] == "session.run.completed"
    assert text(again) == "new"
    assert only(again, "session.run.resumed")["reason"] == "retry"
