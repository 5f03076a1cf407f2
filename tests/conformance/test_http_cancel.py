"""A turn can be cancelled from any connection, at any point of its life, without harm to other turns."""

import time

import httpx
import pytest

from tests.conformance.conversation import DELTA, Conversation, only, say, types
from tests.conformance.problem import check_problem

AT_ONCE_S = 6.0  # one second, and the time that a loaded machine may add


def cancel(chat: Conversation, index: int = 0, **body: object) -> httpx.Response:
    return chat.http.post(chat.path(index, "/cancel"), json=body or None)


def test_a_running_turn_stops_and_its_readers_are_told(chat: Conversation):
    with chat.stream(0, {"play": [say("a"), {"hold": chat.hold("never")}]}) as reading:
        reading.until(DELTA)
        asked_at = time.monotonic()
        response = cancel(chat, reason="enough")
        assert response.status_code == 202
        assert response.json()["run_id"] == chat.run_id(0)
        rest = reading.rest()
        assert time.monotonic() - asked_at < AT_ONCE_S
    assert types(rest) == ["session.run.failed"]
    assert only(rest, "session.run.failed")["code"] == "cancelled"
    record = chat.record()
    assert record["status"] == "cancelled"
    assert record["error"]["code"] == "cancelled"


def test_the_producer_is_cancelled_and_nothing_is_persisted(chat: Conversation):
    chat.submit(0, {"play": [say("a"), {"hold": chat.hold("never")}]})
    chat.recorder.wait_held(chat.hold("never"))
    assert cancel(chat).status_code == 202
    assert chat.finished()["status"] == "cancelled"
    assert "persist_assistant_message" not in chat.recorder.hooks(chat.run_id(0))


def test_a_turn_that_waits_is_cancelled_at_once_and_never_produced(chat: Conversation):
    hold = chat.hold("first")
    chat.submit(0, {"play": [{"hold": hold}]})
    chat.submit(1)
    chat.recorder.wait_held(hold)
    assert cancel(chat, 1).status_code == 202
    assert chat.record(1)["status"] == "cancelled"
    assert types(chat.events(1)) == ["session.run.started", "session.run.failed"]
    chat.recorder.release(hold)
    assert chat.finished(0)["status"] == "completed"
    assert "produce" not in chat.recorder.hooks(chat.run_id(1))


def test_the_turn_that_waited_for_a_cancelled_one_runs(chat: Conversation):
    chat.submit(0, {"play": [{"hold": chat.hold("never")}]})
    chat.submit(1)
    chat.recorder.wait_held(chat.hold("never"))
    cancel(chat, 0)
    assert chat.finished(1)["status"] == "completed"


def test_cancelling_what_has_ended_changes_nothing(chat: Conversation):
    chat.ask(0)
    before = chat.record()
    response = cancel(chat)
    assert response.status_code == 200
    assert response.json() == before == chat.record()


def test_cancelling_twice_is_as_good_as_once(chat: Conversation):
    chat.submit(0, {"play": [{"hold": chat.hold("never")}]})
    chat.recorder.wait_held(chat.hold("never"))
    assert cancel(chat).status_code == 202
    assert cancel(chat).status_code in {200, 202}
    assert chat.finished()["status"] == "cancelled"
    assert types(chat.events()).count("session.run.failed") == 1


def test_a_cancelled_turn_that_is_asked_again_runs(chat: Conversation):
    order = {"plays": [[say("a"), {"hold": chat.hold("never")}], [say("b")]]}
    chat.submit(0, order)
    chat.recorder.wait_held(chat.hold("never"))
    cancel(chat)
    chat.finished()
    lines = chat.ask(0, order)
    assert only(lines, "session.run.resumed")["reason"] == "retry"
    assert only(lines, "result") == {"finalText": "b"}


@pytest.mark.parametrize("choice", ["continue", "cancel"])
def test_a_lost_connection_cancels_only_when_that_was_asked(chat: Conversation, choice: str):
    hold = chat.hold("middle")
    with chat.stream(0, {"play": [say("a"), {"hold": hold}]}, on_disconnect=choice) as reading:
        reading.until(DELTA)
        chat.recorder.wait_held(hold)
    if choice == "continue":
        chat.recorder.release(hold)
    assert chat.finished()["status"] == {"continue": "completed", "cancel": "cancelled"}[choice]


def test_an_unknown_turn_or_a_bad_body_is_refused(chat: Conversation):
    check_problem(cancel(chat, 0), 404, "not_found")
    chat.ask(0)
    check_problem(cancel(chat, 0, reason=5), 422, "invalid")
    check_problem(cancel(chat, 0, why="x"), 422, "invalid")
    check_problem(cancel(chat, 0, reason="x" * 501), 422, "invalid")
    broken = chat.http.post(chat.path(0, "/cancel"), content=b"{", headers={"Content-Type": "application/json"})
    check_problem(broken, 400, "bad_request")


def test_a_turn_that_interrupts_cancels_the_one_before_it(chat: Conversation):
    with chat.stream(0, {"play": [say("a"), {"hold": chat.hold("never")}]}) as reading:
        reading.until(DELTA)
        chat.submit(1, on_busy="interrupt")
        failed = only(reading.rest(), "session.run.failed")
    assert failed["code"] == "cancelled"
    assert chat.finished(1)["status"] == "completed"
