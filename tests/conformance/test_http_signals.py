"""A turn waits for a signal without a worker, and continues at once when the signal comes over HTTP."""

import time

import pytest

from tests.conformance.conversation import Conversation, only, say, types
from tests.conformance.problem import check_problem

SOON_S = 6.0  # one second, and the time that a loaded machine may add


def signal(chat: Conversation, key: str = "approval", index: int = 0, **body: object):
    return chat.http.post(chat.path(index, f"/signals/{key}"), json=body or None)


ORDER = {"play": [say("May I? "), {"signal": "approval"}, say("Done.")]}


def test_a_turn_waits_for_its_signal_and_its_stream_stays_open(chat: Conversation):
    with chat.stream(0, ORDER) as reading:
        waiting = reading.until("session.run.suspended")
        assert only(waiting, "session.run.suspended") == {"awaiting": "approval", "timeoutMs": None}
        record = chat.record()
        assert (record["status"], record["awaiting"]) == ("suspended", "approval")
        sent_at = time.monotonic()
        response = signal(chat, payload={"ok": True})
        assert response.status_code == 202
        assert response.json()["payload"] == {"ok": True}
        resumed = reading.until("session.run.resumed")
        assert time.monotonic() - sent_at < SOON_S
        assert only(resumed, "session.run.resumed")["reason"] == "signal"
        rest = reading.rest()
    assert [line["data"]["payload"] for line in rest if line["type"] == "signal"] == [{"ok": True}]
    assert only(rest, "result") == {"finalText": "May I? Done."}
    lines = chat.events()
    assert [int(line["id"].partition("-")[2]) for line in lines] == list(range(len(lines)))
    assert types(lines).count("message.part.updated") == 2


def test_the_first_signal_wins_also_before_the_turn_waits(chat: Conversation):
    hold = chat.hold("before")
    chat.submit(0, {"play": [{"hold": hold}, {"signal": "approval"}]})
    chat.recorder.wait_held(hold)
    first = signal(chat, payload=1)
    second = signal(chat, payload=2)
    assert (first.status_code, second.status_code) == (202, 200)
    assert second.json() == first.json()
    chat.recorder.release(hold)
    assert chat.finished()["status"] == "completed"
    assert [line["data"]["payload"] for line in chat.events() if line["type"] == "signal"] == [1]


def test_a_timeout_fails_the_turn_if_nobody_catches_it(chat: Conversation):
    lines = chat.ask(0, {"play": [{"signal": "approval", "timeout": 0.1}]})
    assert only(lines, "session.run.suspended")["timeoutMs"] == 100
    assert only(lines, "session.run.failed")["code"] == "signal_timeout"


def test_a_later_turn_waits_for_a_suspended_one(chat: Conversation):
    with chat.stream(0, ORDER) as reading:
        reading.until("session.run.suspended")
        chat.submit(1)
        assert chat.record(1)["status"] == "queued"
        signal(chat, payload=None)
        reading.rest()
    assert chat.finished(1)["status"] == "completed"


def test_a_suspended_turn_is_cancelled_at_once(chat: Conversation):
    with chat.stream(0, ORDER) as reading:
        reading.until("session.run.suspended")
        assert chat.http.post(chat.path(0, "/cancel")).status_code == 202
        assert only(reading.rest(), "session.run.failed")["code"] == "cancelled"


@pytest.mark.parametrize("key", ["a b", "x" * 129, "~"])
def test_a_bad_key_is_refused(chat: Conversation, key: str):
    check_problem(signal(chat, key), 400, "bad_request")


def test_a_signal_that_nobody_can_get_is_refused(chat: Conversation):
    check_problem(signal(chat), 404, "not_found")
    chat.ask(0)
    check_problem(signal(chat), 409, "turn_ended")
    check_problem(chat.http.post(chat.path(0, "/signals/x"), json={"load": 1}), 422, "invalid")
