"""The numbered cases of the chat engine and its hooks: C6 to C12, C83 to C86.

C82 (a persist failure fails the turn) does not hold here. C12 holds instead, and `persisted: false` tells the client.
"""

import pytest

from stack.cluster import Stack
from tests.conformance.conversation import Conversation, bare, delta, only, say, text, types

COMPLETED, FAILED = "session.run.completed", "session.run.failed"


def terminals(lines):
    return [kind for kind in types(lines) if kind in {COMPLETED, FAILED}]


def test_c06_started_first_then_deltas_and_result_then_completed(chat: Conversation):
    response = chat.post(0, {"play": [say("hel"), say("lo")]})
    assert response.status_code == 200
    assert response.headers["content-type"].split(";")[0] == "application/x-ndjson"
    lines = chat.events()
    assert types(lines) == ["session.run.started", "message.part.updated", "message.part.updated", "result", COMPLETED]
    assert lines[0]["data"] == {"sessionId": chat.id, "tenantId": "default", "turnIndex": 0, "attempt": 1}
    assert lines[3]["data"] == {"finalText": "hello"}
    assert lines[4]["data"] == {"sessionId": chat.id, "replayed": False, "persisted": True}
    persisted = chat.recorder.calls(chat.run_id(0), "persist_assistant_message")
    assert [call["text"] for call in persisted] == ["hello"]


def test_c07_persist_runs_before_on_turn_complete_and_both_after_the_producer(chat: Conversation):
    chat.ask(0)
    chat.recorder.wait_call(chat.run_id(0), "trace_flush")
    assert chat.recorder.hooks(chat.run_id(0)) == [
        "produce",
        "produce_closed",
        "transform_final_text",
        "persist_assistant_message",
        "on_turn_complete",
        "trace_flush",
    ]


def test_c08_a_replay_calls_no_hook_again(chat: Conversation, other_chat: Conversation):
    chat.ask(0)
    chat.recorder.wait_call(chat.run_id(0), "trace_flush")
    before = chat.recorder.calls(chat.run_id(0))
    replay = chat.ask(0)
    assert "result" in types(replay)
    assert only(replay, COMPLETED)["replayed"] is True
    other_chat.ask(0)  # anything that the replay had started would have started before this turn
    assert chat.recorder.calls(chat.run_id(0)) == before


def test_c09_a_producer_failure_ends_the_stream_in_order(chat: Conversation):
    response = chat.post(0, {"play": [say("a"), {"raise": {"kind": "plain", "message": "boom"}}]})
    assert (
        response.status_code == 200
    )  # the stream had begun, and its body ended properly: otherwise httpx would have raised
    lines = chat.events()
    assert types(lines) == ["session.run.started", "message.part.updated", "error", FAILED]
    message = "the product failed (RuntimeError)"
    assert only(lines, "error") == {"message": message, "code": "producer_error", "retryable": False}
    assert only(lines, FAILED) == {"sessionId": chat.id, "message": message, "code": "producer_error"}
    assert chat.recorder.calls(chat.run_id(0), "persist_assistant_message") == []
    assert chat.recorder.calls(chat.run_id(0), "on_turn_complete") == []


def test_c09_a_failure_with_the_products_own_words_keeps_code_and_retryable(chat: Conversation):
    how = {"kind": "failure", "message": "no credits left", "code": "no_credits", "retryable": True}
    lines = chat.ask(0, {"play": [{"raise": how}]})
    assert only(lines, "error") == {"message": "no credits left", "code": "no_credits", "retryable": True}
    assert chat.record()["error"] == {"message": "no credits left", "code": "no_credits", "retryable": True}


def test_c10_the_side_channel_sees_exactly_what_the_client_sees(chat: Conversation):
    tool = {"type": "tool.call", "data": {"name": "search", "input": {"q": "ä"}}}
    lines = chat.ask(0, {"play": [say("a"), {"event": tool}, say("b")]})
    chat.recorder.wait_call(chat.run_id(0), "on_event", len(lines))
    chat.recorder.wait_call(chat.run_id(0), "trace_flush")
    seen = [{"type": c["type"], "data": c["data"]} for c in chat.recorder.calls(chat.run_id(0), "on_event")]
    assert seen == bare(lines)


def test_c11_transform_changes_the_kept_text_and_not_the_live_one(chat: Conversation):
    lines = chat.ask(0, {"play": [say("hello")], "transform": "upper"})
    assert text(lines) == "hello"
    assert only(lines, "result") == {"finalText": "hello"}
    persisted = chat.recorder.calls(chat.run_id(0), "persist_assistant_message")
    assert [call["text"] for call in persisted] == ["HELLO"]
    assert chat.record()["final_text"] == "HELLO"


def test_c12_a_throwing_persist_hook_does_not_fail_the_turn(chat: Conversation):
    lines = chat.ask(0, {"play": [say("kept")], "persist": "raise"})
    assert types(lines)[-1] == COMPLETED
    assert only(lines, COMPLETED)["persisted"] is False
    record = chat.record()
    assert (record["status"], record["final_text"]) == ("completed", "kept")
    assert record["persist"] == "pending"
    ids = {call["message_id"] for call in chat.recorder.calls(chat.run_id(0), "persist_assistant_message")}
    assert len(ids) == 1


@pytest.mark.parametrize("hook", ["complete", "on_event", "trace_flush"])
def test_c12_no_other_hook_that_throws_fails_the_turn_either(chat: Conversation, hook: str):
    lines = chat.ask(0, {hook: "raise"})
    assert types(lines)[-1] == COMPLETED
    assert only(lines, COMPLETED)["persisted"] is True
    assert chat.record()["status"] == "completed"


def test_c83_a_failed_turn_is_logged_by_default(chat: Conversation, ours: Stack):
    chat.ask(0, {"play": [{"raise": {"kind": "plain", "message": "the disk is full"}}]})
    chat.recorder.wait_call(chat.run_id(0), "trace_flush")
    logs = "".join(worker.log() for worker in ours.worker)
    assert any(chat.run_id(0) in line and "the disk is full" in line for line in logs.splitlines())


@pytest.mark.parametrize("kind", ["error", FAILED])
def test_c84_an_in_band_failure_keeps_the_text_and_ends_with_one_failed(chat: Conversation, kind: str):
    failure = {"type": kind, "data": {"message": "the model refused", "code": "refused"}}
    lines = chat.ask(0, {"play": [say("partial"), {"event": failure}]})
    assert terminals(lines) == [FAILED]
    assert types(lines)[-1] == FAILED
    assert only(lines, FAILED)["message"] == "the model refused"
    assert types(lines).count("error") == 1
    persisted = chat.recorder.calls(chat.run_id(0), "persist_assistant_message")
    assert [call["text"] for call in persisted] == ["partial"]
    record = chat.record()
    assert (record["status"], record["final_text"]) == ("failed", "partial")
    assert record["error"]["message"] == "the model refused"


def test_c84_a_handled_tool_error_does_not_fail_the_turn(chat: Conversation):
    handled = {"type": "tool.error", "data": {"message": "no hits"}}
    lines = chat.ask(0, {"play": [{"event": handled}, say("answer")]})
    assert terminals(lines) == [COMPLETED]
    assert handled in bare(lines)


def test_c85_a_producers_own_completed_is_withheld_until_after_persisting(chat: Conversation):
    hold = chat.hold("persist")
    own = {"type": COMPLETED, "data": {"sessionId": "forged", "replayed": True}}
    with chat.stream(0, {"play": [say("a"), {"event": own}, say("b")], "persist": {"hold": hold}}) as reading:
        before = reading.until("result")
        chat.recorder.wait_call(chat.run_id(0), "persist_assistant_message")
        assert terminals(before) == []
        assert chat.record()["status"] == "running"
        chat.recorder.release(hold)
        after = reading.rest()
    assert types(after) == [COMPLETED]
    assert after[0]["data"] == {"sessionId": chat.id, "replayed": False, "persisted": True}
    assert bare(before)[1:3] == [delta("a"), delta("b")]


def test_c86_an_http_error_of_the_product_keeps_its_status_and_message(chat: Conversation):
    lines = chat.ask(0, {"play": [{"raise": {"kind": "http", "status": 429, "body": "sk-secret quota table"}}]})
    message = only(lines, "error")["message"]
    assert "429" in message
    assert "Too Many Requests" in message
    assert "sk-secret" not in message
    assert only(lines, FAILED)["message"] == message


def test_what_an_exception_of_the_product_says_goes_to_the_log_only(chat: Conversation, ours: Stack):
    mark = chat.hold("mark")
    said = f"{mark}: ('10.0.0.5', 6379) db.internal /srv/key.pem"
    said += " redis://u:opensesame@h password=hunter2 sk-proj-0123456789"
    lines = chat.ask(0, {"play": [{"raise": {"kind": "plain", "message": said}}]})
    expected = "the product failed (RuntimeError)"
    assert {only(lines, "error")["message"], only(lines, FAILED)["message"]} == {expected}
    assert chat.record()["error"]["message"] == expected
    chat.recorder.wait_call(chat.run_id(0), "trace_flush")
    logged = "".join(line for worker in ours.worker for line in worker.log().splitlines() if mark in line)
    assert "('10.0.0.5', 6379) db.internal /srv/key.pem" in logged
    assert not [secret for secret in ("opensesame", "hunter2", "sk-proj") if secret in logged], logged


def test_c86_an_http_error_of_the_product_names_no_host(chat: Conversation):
    lines = chat.ask(0, {"play": [{"raise": {"kind": "http", "status": 503, "body": ""}}]})
    assert "model.invalid" not in only(lines, "error")["message"]
