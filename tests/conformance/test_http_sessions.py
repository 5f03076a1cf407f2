"""The turns of one session: their order, their history, `on_busy`, waiting for them, and listing them."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from stack.cluster import Stack
from tests.conformance.conversation import Conversation, only, say, text, types
from tests.conformance.problem import check_problem
from turnwire.shared.keys import TurnKey


def test_the_second_turn_waits_for_the_first_and_gets_it_as_history(chat: Conversation, other_chat: Conversation):
    hold = chat.hold("first")
    chat.submit(0, {"play": [say("an"), {"hold": hold}, say("swer")]}, message="question")
    chat.recorder.wait_held(hold)
    chat.submit(1, {"play": [{"history": True}]}, message="and then?")
    other_chat.ask(0)  # it was asked later and has completed, so turn 1 really waits and is not just slow
    assert chat.record(1)["status"] == "queued"
    assert chat.recorder.calls(chat.run_id(1)) == []
    chat.recorder.release(hold)
    assert only(chat.events(1), "history")["messages"] == [
        {"role": "user", "content": "question"},
        {"role": "assistant", "content": "answer"},
    ]


def test_many_turns_asked_at_once_run_in_the_order_of_their_indexes(chat: Conversation):
    for index in range(6):
        chat.submit(index, {"play": [{"history": True}, say(str(index))]}, message=f"q{index}")
    history = only(chat.events(5), "history")["messages"]
    assert [message["content"] for message in history] == [t for i in range(5) for t in (f"q{i}", str(i))]


def test_a_failed_turn_does_not_stop_its_session_and_is_no_history(chat: Conversation):
    chat.submit(0, {"play": [{"raise": {"kind": "plain", "message": "broke"}}]})
    lines = chat.ask(1, {"play": [{"history": True}]})
    assert only(lines, "history")["messages"] == []
    assert types(lines)[-1] == "session.run.completed"


def test_history_is_the_transformed_text(chat: Conversation):
    chat.ask(0, {"play": [say("loud")], "transform": "upper"})
    assert only(chat.ask(1, {"play": [{"history": True}]}), "history")["messages"][1]["content"] == "LOUD"


def test_two_sessions_do_not_wait_for_each_other(chat: Conversation, other_chat: Conversation):
    hold = chat.hold("first")
    chat.submit(0, {"play": [{"hold": hold}]})
    chat.recorder.wait_held(hold)
    assert types(other_chat.ask(0))[-1] == "session.run.completed"
    chat.recorder.release(hold)
    chat.finished()


def test_a_concurrent_turn_does_not_wait(chat: Conversation):
    hold = chat.hold("first")
    chat.submit(0, {"play": [{"hold": hold}]})
    chat.recorder.wait_held(hold)
    assert text(chat.ask(1, {"play": [say("at once")]}, on_busy="concurrent")) == "at once"
    assert chat.record(0)["status"] == "running"
    chat.recorder.release(hold)
    assert chat.finished(0)["status"] == "completed"


@pytest.mark.parametrize("index", [1, None])
def test_reject_refuses_another_turn_while_one_is_open_and_writes_nothing(chat: Conversation, index: int | None):
    hold = chat.hold("first")
    chat.submit(0, {"play": [{"hold": hold}]})
    response = chat.post(index, on_busy="reject", message="second")
    document = check_problem(response, 409, "session_busy")
    assert document["retryable"] is True
    assert int(response.headers["retry-after"]) >= 1
    check_problem(chat.get(1), 404, "not_found")
    chat.recorder.release(hold)
    chat.finished()
    assert types(chat.ask(index, on_busy="reject", message="second"))[-1] == "session.run.completed"


def test_reject_refuses_the_same_turn_with_lease_held(chat: Conversation):
    hold = chat.hold("first")
    chat.submit(0, {"play": [{"hold": hold}]})
    response = chat.post(0, on_busy="reject")
    assert check_problem(response, 409, "lease_held")["retryable"] is True
    assert int(response.headers["retry-after"]) >= 1
    chat.recorder.release(hold)
    chat.finished()


def test_reject_still_replays_a_completed_turn_of_a_busy_session(chat: Conversation):
    chat.ask(0)
    hold = chat.hold("second")
    chat.submit(1, {"play": [{"hold": hold}]})
    assert only(chat.ask(0, on_busy="reject"), "session.run.completed")["replayed"] is True
    chat.recorder.release(hold)
    chat.finished(1)


def test_the_same_turn_asked_many_times_at_once_runs_once(chat: Conversation):
    order = {"play": [say("a"), say("b")]}
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: chat.ask(0, order), range(12)))
    assert all(only(lines, "result") == {"finalText": "ab"} for lines in answers)
    assert len(chat.recorder.calls(chat.run_id(0), "produce")) == 1
    assert len(chat.recorder.calls(chat.run_id(0), "persist_assistant_message")) == 1


def test_next_indexes_taken_at_once_are_all_different(chat: Conversation):
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda number: chat.submit(None, message=f"m{number}"), range(12)))
    assert sorted(response.json()["turn_index"] for response in found) == list(range(12))
    assert chat.finished(11)["status"] == "completed"


def test_wait_answers_when_the_turn_ends(chat: Conversation):
    hold = chat.hold("open")
    chat.submit(0, {"play": [{"hold": hold}]})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(chat.get, 0, wait=20)
        chat.recorder.wait_held(hold)
        chat.recorder.release(hold)
        assert waiting.result().json()["status"] == "completed"


def test_wait_gives_up_after_its_time_and_shows_the_turn_as_it_is(chat: Conversation):
    hold = chat.hold("open")
    chat.submit(0, {"play": [{"hold": hold}]})
    chat.recorder.wait_held(hold)
    response = chat.get(0, wait=0.2)
    assert (response.status_code, response.json()["status"]) == (200, "running")
    assert response.elapsed.total_seconds() >= 0.19  # timers count whole milliseconds
    assert chat.get(0, wait=0).json()["status"] == "running"
    chat.recorder.release(hold)
    assert chat.finished()["status"] == "completed"


def test_a_record_says_when_things_happened(chat: Conversation):
    chat.ask(0)
    record = chat.record()
    assert record["created_at"] <= record["started_at"] <= record["completed_at"]
    assert record["completed_at"] <= record["updated_at"]
    assert (record["session_id"], record["turn_index"], record["attempt"]) == (chat.id, 0, 1)


def test_a_list_is_paged_by_index_without_gap_or_repetition(chat: Conversation):
    for index in (0, 1, 2, 5, 7):
        chat.ask(index)
    seen, page, params = [], 0, {"limit": "2"}
    while True:
        found = chat.http.get(chat.turns, params=params).json()
        seen += [turn["turn_index"] for turn in found["turns"]]
        page += 1
        if found["next"] is None:
            break
        params["after"] = str(found["next"])
    assert (seen, page) == ([0, 1, 2, 5, 7], 3)
    assert chat.http.get(chat.turns, params={"after": "7"}).json() == {"turns": [], "next": None}


def test_a_record_that_cannot_be_read_is_refused_by_name_and_left_out_of_the_list(chat: Conversation, ours: Stack):
    chat.ask(0)
    chat.ask(1)
    assert ours.redis is not None
    with redis.Redis.from_url(ours.redis.url) as client:
        client.hset(TurnKey.parse(chat.run_id(0)).record, "status", "of another version")
    for path in (chat.path(0), chat.path(0, "/events")):
        check_problem(chat.http.get(path), 409, "record_unreadable")
    listed = chat.http.get(chat.path(0).rpartition("/")[0]).json()
    assert [turn["turn_index"] for turn in listed["turns"]] == [1]
