"""When a session is erased, nothing of it is left, even if workers and readers were busy with it."""

import time
from typing import Any, Final

import httpx
import pytest

from tests.conformance.conversation import DELTA, Conversation, say
from tests.conformance.problem import check_problem

AT_ONCE_S: Final = 6.0  # one second, and the time that a loaded machine may add


def erase(chat: Conversation) -> httpx.Response:
    return chat.http.delete(f"/v1/sessions/{chat.id}")


def test_nothing_of_an_erased_session_is_left(chat: Conversation):
    for index in range(3):
        chat.ask(index)
    assert erase(chat).status_code == 200
    for index in range(3):
        check_problem(chat.get(index), 404, "not_found")
        check_problem(chat.http.get(chat.path(index, "/events")), 404, "not_found")
    check_problem(chat.http.get(chat.turns), 404, "not_found")
    check_problem(erase(chat), 404, "not_found")


def test_a_running_turn_of_an_erased_session_stops_and_never_comes_back(chat: Conversation):
    with chat.stream(0, {"play": [say("a"), {"hold": chat.hold("never")}]}) as reading:
        reading.until(DELTA)
        chat.submit(1)
        assert erase(chat).status_code == 200
        chat.recorder.wait_call(chat.run_id(0), "produce_closed")
        check_problem(chat.get(0), 404, "not_found")
        assert reading.rest() == []
    check_problem(chat.get(1), 404, "not_found")


@pytest.mark.parametrize("state", ["queued", "running", "suspended"])
def test_an_open_stream_of_an_erased_session_ends_at_once(chat: Conversation, state: str):
    play: dict[str, Any] = {"running": {"hold": chat.hold("never")}, "suspended": {"signal": "never"}}
    if state == "queued":
        chat.submit(0, {"play": [play["running"]]})
    index = int(state == "queued")
    with chat.stream(index, {"play": [say("a"), play.get(state, say("b"))]}) as reading:
        if state != "queued":
            reading.until(DELTA if state == "running" else "session.run.suspended")
        began = time.monotonic()
        assert erase(chat).status_code == 200
        assert reading.rest() == []
        assert time.monotonic() - began < AT_ONCE_S


def test_an_erased_session_starts_again_at_its_first_turn(chat: Conversation):
    chat.ask(None)
    erase(chat)
    assert chat.ask(None)[0]["data"]["turnIndex"] == 0


def test_another_session_is_left_alone(chat: Conversation, other_chat: Conversation):
    chat.ask(0)
    other_chat.ask(0)
    erase(chat)
    assert other_chat.record(0)["status"] == "completed"
