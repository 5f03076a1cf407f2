"""The numbered cases of a single turn: C1 to C5, C15, C67."""

from tests.conformance.conversation import Conversation, bare, delta, only, say, text, types
from tests.conformance.problem import check_problem


def test_c01_events_arrive_unchanged_and_in_order_from_one_producer(chat: Conversation):
    order = {"play": [say("one "), say("two "), say("three")]}
    lines = chat.ask(0, order)
    assert bare(lines)[1:4] == [delta("one "), delta("two "), delta("three")]
    assert only(lines, "session.run.completed")["replayed"] is False
    record = chat.record()
    assert record["status"] == "completed"
    assert record["final_text"] == "one two three"
    assert len(chat.recorder.calls(chat.run_id(0), "produce")) == 1


def test_c02_a_completed_turn_answers_with_one_cached_result_and_no_producer(chat: Conversation):
    chat.ask(0, {"play": [say("first")]})
    replay = chat.ask(0, {"play": [say("second")]})
    assert types(replay) == ["session.run.started", "result", "session.run.completed"]
    assert only(replay, "result") == {"finalText": "first"}
    assert only(replay, "session.run.completed")["replayed"] is True
    assert len(chat.recorder.calls(chat.run_id(0), "produce")) == 1


def test_c03_a_failed_turn_runs_again_from_the_top_when_it_is_asked_again(chat: Conversation):
    broken = [say("old "), {"raise": {"kind": "plain", "message": "the tool broke"}}]
    order = {"plays": [broken, [say("new "), say("text")]]}
    first = chat.ask(0, order)
    assert only(first, "error")["message"] == "the product failed (RuntimeError)"
    assert chat.record()["status"] == "failed"
    second = chat.ask(0, order)
    assert types(second)[-1] == "session.run.completed"
    assert only(second, "result") == {"finalText": "new text"}
    assert text(second) == "new text"
    record = chat.record()
    assert (record["status"], record["final_text"], record["attempt"]) == ("completed", "new text", 2)
    assert "error" not in record or record["error"] is None
    assert len(chat.recorder.calls(chat.run_id(0), "produce")) == 2


def test_c04_without_a_final_text_the_accumulated_text_is_kept_and_replayed(chat: Conversation):
    chat.ask(0, {"play": [say("a"), say("b")]})
    assert only(chat.ask(0), "result") == {"finalText": "ab"}


def test_c04_a_final_text_of_the_producer_wins(chat: Conversation):
    lines = chat.ask(0, {"play": [say("draft"), {"final_text": "the final one"}]})
    assert only(lines, "result") == {"finalText": "the final one"}
    assert chat.record()["final_text"] == "the final one"
    assert only(chat.ask(0), "result") == {"finalText": "the final one"}


def test_c05_a_turn_in_flight_is_not_started_twice_and_drains_to_its_end(chat: Conversation):
    hold = chat.hold("middle")
    with chat.stream(0, {"play": [say("a"), {"hold": hold}, say("b")]}) as first:
        first.until("message.part.updated")
        response = chat.post(0, on_busy="reject")
        check_problem(response, 409, "lease_held")
        chat.recorder.release(hold)
        assert text(first.rest()) == "b"
    assert chat.record()["status"] == "completed"
    assert len(chat.recorder.calls(chat.run_id(0), "produce")) == 1


def test_c15_the_same_turn_with_other_input_is_a_mismatch(chat: Conversation):
    chat.ask(0, message="one thing")
    check_problem(chat.post(0, message="another thing"), 422, "input_mismatch")
    assert chat.record()["message"] == "one thing"
    assert len(chat.recorder.calls(chat.run_id(0), "produce")) == 1


def test_c15_project_and_domain_are_input_but_user_and_metadata_are_not(chat: Conversation):
    chat.ask(0, project="legal", domain="tax", user="ann")
    assert len(chat.ask(0, {"other": "metadata"}, project="legal", domain="tax", user="bea")) == 3
    check_problem(chat.post(0, project="gtm", domain="tax"), 422, "input_mismatch")
    check_problem(chat.post(0, project="legal", domain="law"), 422, "input_mismatch")


def test_c67_an_omitted_model_is_null_and_adding_one_is_a_mismatch(chat: Conversation):
    chat.ask(0)
    assert len(chat.ask(0, model=None)) == 3
    check_problem(chat.post(0, model="small"), 422, "input_mismatch")
