"""The numbered cases of the wire: C66, C68, C69, C70, C81, C87 to C90, C92, C93."""

import json
from typing import Any

import pytest

from tests.conformance.conversation import Conversation, bare, delta, parse, say, text, types
from tests.conformance.problem import check_problem

LEASE_AND_A_BIT_S = 2.5  # the leases of the suite's own service last 2 s


def test_c66_a_rejected_turn_is_a_typed_status_and_never_says_started(chat: Conversation):
    hold = chat.hold("running")
    chat.submit(0, {"play": [{"hold": hold}]})
    cases: list[tuple[int, str, dict[str, Any]]] = [
        (422, "input_mismatch", {"message": "other"}),
        (409, "lease_held", {"on_busy": "reject"}),
    ]
    for status, code, fields in cases:
        response = chat.post(0, **fields)
        check_problem(response, status, code)
        assert "session.run.started" not in response.text
    chat.recorder.release(hold)
    assert types(chat.events()).count("session.run.started") == 1


def test_c68_one_json_object_a_line_in_utf8_and_no_blank_lines(chat: Conversation):
    awkward = 'line\nbreak \u2028\u2029\x85 \x00 \x1f "quoted" \\ \u00e4 \U0001f600 \r\n'
    body = chat.post(0, {"play": [say(awkward), say("end")]}).content
    assert body.endswith(b"\n")
    assert b"\r" not in body
    assert b"\n\n" not in body
    assert all(json.loads(line)["type"] for line in body.decode("utf-8").removesuffix("\n").split("\n"))
    assert text(parse(body)) == awkward + "end"


def test_c69_a_client_that_left_after_two_lines_attaches_again_at_once(chat: Conversation):
    hold = chat.hold("middle")
    order = {"play": [say("a"), {"hold": hold}, say("b")]}
    with chat.stream(0, order) as first:
        seen = [first.next_raw(), first.next_raw()]
    with chat.stream(0, order) as second:
        assert [second.next_raw(), second.next_raw()] == seen
        chat.recorder.release(hold)
        assert types(second.rest())[-1] == "session.run.completed"
    assert len(chat.recorder.calls(chat.run_id(0), "produce")) == 1
    persisted = chat.recorder.calls(chat.run_id(0), "persist_assistant_message")
    assert [call["text"] for call in persisted] == ["ab"]


def test_c70_a_turn_completes_without_any_reader(chat: Conversation):
    chat.submit(0)
    chat.recorder.wait_call(chat.run_id(0), "trace_flush")
    assert chat.record()["status"] == "completed"


def test_c81_a_turn_with_a_live_owner_is_left_alone(chat: Conversation):
    hold = chat.hold("long")
    with chat.stream(0, {"play": [say("a"), {"hold": hold}, say("b")]}) as reading:
        before = reading.until("message.part.updated")
        record = chat.get(0, wait=LEASE_AND_A_BIT_S).json()
        assert (record["status"], record["attempt"]) == ("running", 1)
        chat.recorder.release(hold)
        lines = before + reading.rest()
    assert "session.run.resumed" not in types(lines)
    assert text(lines) == "ab"
    assert len(chat.recorder.calls(chat.run_id(0), "produce")) == 1


def test_c81_an_unknown_turn_is_not_found(chat: Conversation):
    check_problem(chat.get(0), 404, "not_found")
    check_problem(chat.http.get(chat.path(0, "/events")), 404, "not_found")
    check_problem(chat.http.get(chat.turns), 404, "not_found")
    chat.ask(0)
    check_problem(chat.get(1), 404, "not_found")
    check_problem(chat.http.get(chat.path(1, "/events")), 404, "not_found")


def test_c87_a_run_id_is_stable_and_differs_by_session_and_index(chat: Conversation, other_chat: Conversation):
    for one in (chat, other_chat):
        for index in (0, 1):
            one.ask(index)
            one.ask(index)
    ids = [one.record(index)["run_id"] for one in (chat, other_chat) for index in (0, 1)]
    assert ids == [one.run_id(index) for one in (chat, other_chat) for index in (0, 1)]
    assert len(set(ids)) == 4


def test_c87_every_allowed_character_and_length_makes_an_id_of_its_own(chat: Conversation):
    for session_id in ("A.b_c-1", "-", "~".replace("~", "_"), "..a", chat.id.ljust(128, "x")):
        one = Conversation(chat.http, chat.recorder, f"{chat.id}{session_id}"[-128:])
        one.ask(2147483647)
        assert one.record(2147483647)["run_id"] == f"chat:{one.id}:2147483647"


@pytest.mark.parametrize(
    "part", ["x" * 129, "%20", "%20a", "a%3A0", "a:0", "a~b", "{a}", "%7Ba%7D", "a%0A", "%00", "%C3%A4", "a,b", "a*"]
)
def test_c87_blank_forged_and_too_long_session_ids_are_refused(chat: Conversation, part: str):
    path = f"/v1/sessions/{part}/turns/0"
    check_problem(chat.http.post(path, json=chat.body()), 400, "bad_request")
    check_problem(chat.http.get(path), 400, "bad_request")
    check_problem(chat.http.get(f"{path}/events"), 400, "bad_request")


def test_c88_the_log_keeps_filling_after_the_client_went_away(chat: Conversation):
    hold = chat.hold("middle")
    with chat.stream(0, {"play": [say("a"), {"hold": hold}, say("b"), say("c")]}) as reading:
        reading.until("message.part.updated")
    chat.recorder.release(hold)
    assert chat.finished()["final_text"] == "abc"
    lines = chat.events()
    assert text(lines) == "abc"
    assert types(lines)[-1] == "session.run.completed"


def test_c89_a_reader_resumes_strictly_after_its_cursor(chat: Conversation):
    lines = chat.ask(0, {"play": [say(letter) for letter in "abcd"]})
    for place, line in enumerate(lines):
        assert chat.events(after=line["id"]) == lines[place + 1 :]


def test_c90_a_reader_follows_a_running_turn_to_its_end(chat: Conversation):
    hold = chat.hold("middle")
    chat.submit(0, {"play": [say("a"), {"hold": hold}, say("b")]})
    chat.recorder.wait_held(hold)
    with chat.follow(0) as reading:
        assert types(reading.until("message.part.updated"))[0] == "session.run.started"
        chat.recorder.release(hold)
        rest = reading.rest()
    assert bare(rest)[0] == delta("b")
    assert types(rest)[-1] == "session.run.completed"


def test_c92_the_turns_of_a_session_are_listed_with_their_states(chat: Conversation):
    hold = chat.hold("second")
    chat.ask(0)
    chat.submit(1, {"play": [{"hold": hold}]})
    chat.recorder.wait_held(hold)
    turns = chat.http.get(chat.turns).json()["turns"]
    assert [(turn["turn_index"], turn["status"]) for turn in turns] == [(0, "completed"), (1, "running")]
    assert turns == [chat.record(0), chat.record(1)]
    chat.recorder.release(hold)
    assert chat.finished(1)["status"] == "completed"


def test_c93_every_line_of_a_log_carries_its_cursor_and_a_replay_carries_none(chat: Conversation):
    live = chat.ask(0, {"play": [say(letter) for letter in "abc"]})
    assert [line["id"] for line in live] == [f"1-{seq}" for seq in range(len(live))]
    assert chat.events() == live
    assert all("id" not in line for line in chat.ask(0))
