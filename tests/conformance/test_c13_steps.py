"""The numbered cases of durable steps: C13, C14, C16 to C23. (C15: test_c01_turn.py.)"""

import json
import time
from typing import cast

import httpx
import pytest
import redis

from stack.cluster import Stack
from tests.conformance.conversation import Conversation, Line, only, say, text, types
from turnwire.shared.keys import TurnKey


def step(intent: str, gives: object = None, **how: object) -> dict[str, object]:
    """Return the action of the product that runs a step and yields an event with its result."""
    return {"step": intent, "gives": gives, **how}


def results(lines: list[Line]) -> dict[str, object]:
    """Return each step's result, as the producer got it."""
    return {key: result for line in lines if line["type"] == "step" for key, result in line["data"].items()}


def ran(chat: Conversation) -> list[str]:
    """Return the actions that were really carried out, in order."""
    return [hook for hook in chat.recorder.hooks(chat.run_id(0)) if hook.startswith(("step ", "stream "))]


def signal(chat: Conversation, payload: object) -> httpx.Response:
    return chat.http.post(chat.path(0, "/signals/approval"), json={"payload": payload})


FAIL = {"raise": {"kind": "plain", "message": "no"}}


def test_c13_steps_run_in_order_and_give_their_results(chat: Conversation):
    lines = chat.ask(0, {"play": [step("plan", ["a", 1]), step("search", {"hits": 2}), say("done")]})
    assert results(lines) == {"plan": ["a", 1], "search": {"hits": 2}}
    assert ran(chat) == ["step plan", "step search"]
    assert chat.record()["status"] == "completed"


def test_c13_steps_are_listed_with_index_intent_and_status(chat: Conversation, ours: Stack):
    chat.ask(0, {"play": [step("plan"), step("search"), say("done")]})
    assert ours.redis is not None
    with redis.Redis.from_url(ours.redis.url) as client:
        stored = client.hgetall(TurnKey.parse(chat.run_id(0)).steps)
    steps = [json.loads(stored[str(index).encode()]) for index in range(3)]
    assert [(found["index"], found["intent"], found["status"]) for found in steps] == [
        (0, "plan", "completed"), (1, "search", "completed"), (2, "turn", "completed"),
    ]  # fmt: skip


def test_c14_a_step_that_completed_is_not_called_again_when_a_later_one_is_mended(chat: Conversation):
    order = {"plays": [[step("one", 1), step("two", fails=True)], [step("one", "other"), step("two", 2), say("done")]]}
    assert only(chat.ask(0, order), "session.run.failed")["code"] == "producer_error"
    lines = chat.ask(0, order)
    assert types(lines)[-1] == "session.run.completed"
    assert results(lines) == {"one": 1, "two": 2}
    assert ran(chat) == ["step one", "step two", "step two"]


def test_c14_a_stream_that_ended_is_not_asked_for_again(chat: Conversation):
    answer = {"stream": "answer", "says": ["all ", "of it"]}
    order = {"plays": [[answer, step("mail", fails=True)], [answer, step("mail")]]}
    chat.ask(0, order)
    lines = chat.ask(0, order)
    assert only(lines, "result") == {"finalText": "all of it"}
    assert text(lines) == "all of it"
    assert ran(chat) == ["stream answer", "step mail", "step mail"]


@pytest.mark.parametrize("other", [step("other"), {"stream": "other", "says": []}, {"fixed": True}, say("nothing")])
def test_c16_another_intent_at_the_same_position_is_a_divergence(chat: Conversation, other: dict[str, object]):
    order = {"plays": [[step("search"), FAIL], [other, say("done")]]}
    chat.ask(0, order)
    assert only(chat.ask(0, order), "session.run.failed")["code"] == "step_divergence"
    assert ran(chat) == ["step search"]


def holder(client: redis.Redis, chat: Conversation) -> tuple[bytes, int]:
    """Return the holder of the turn's lease, and the lease's remaining time in ms."""
    lease = TurnKey.parse(chat.run_id(0)).lease
    return cast("bytes", client.get(lease)), cast("int", client.pttl(lease))


def test_c17_c18_a_lease_keeps_others_out_until_it_ends_and_then_another_worker_is_the_holder(
    chat: Conversation, ours: Stack
):
    """The worker is paused, as if its machine were frozen, so only the end of the lease tells that it is gone."""
    holds = [chat.hold("first"), chat.hold("second")]
    chat.submit(0, {"plays": [[say("a"), {"hold": hold}] for hold in holds]})
    chat.recorder.wait_held(holds[0])
    assert ours.redis is not None
    with redis.Redis.from_url(ours.redis.url) as client:
        pid = int(holder(client, chat)[0].split(b"/")[1])
        owner = next(worker for worker in ours.worker if worker.pid == pid)
        owner.pause()
        try:
            paused_at_s = time.monotonic()
            first, left_ms = holder(client, chat)
            chat.recorder.wait_held(holds[1])
            waited_ms = (time.monotonic() - paused_at_s) * 1000
            second, _ = holder(client, chat)
        finally:
            owner.resume()
    assert 0 < left_ms <= waited_ms  # C17: no other worker began before
    assert (first[-2:], second[-2:]) == (b"#1", b"#2")
    assert second.split(b"/")[1] != first.split(b"/")[1]  # C18: another process
    chat.recorder.release(holds[1])
    assert chat.finished()["status"] == "completed"
    chat.recorder.release(holds[0])
    assert text(chat.events()) == "a"


def test_c19_a_turn_gets_the_signal_that_came_while_it_waited_and_later_attempts_get_it_from_its_checkpoint(
    chat: Conversation,
):
    wait = {"signal": "approval"}
    order = {
        "plays": [[wait], [wait, FAIL], [wait, say("done")]]
    }  # the turn is resumed once, fails, and is asked again
    with chat.stream(0, order) as reading:
        reading.until("session.run.suspended")
        assert signal(chat, {"ok": 1}).status_code == 202
        lines = reading.rest()
    assert only(lines, "signal") == {"payload": {"ok": 1}}
    assert only(lines, "session.run.failed")["code"] == "producer_error"
    again = chat.ask(0, order)
    assert types(again)[-1] == "session.run.completed"
    assert only(again, "signal") == {"payload": {"ok": 1}}
    assert types(again).count("session.run.suspended") == 1  # the log keeps one


def test_c20_a_signal_that_does_not_come_is_an_error_of_a_class_of_its_own(chat: Conversation):
    lines = chat.ask(0, {"play": [{"signal": "approval", "timeout": 0.05, "catch": True}, say("too late")]})
    assert only(lines, "signal") == {"error": "SignalTimeoutError", "code": "signal_timeout"}
    assert types(lines)[-1] == "session.run.completed"


def test_c20_an_uncaught_timeout_fails_the_turn_with_its_code(chat: Conversation):
    lines = chat.ask(0, {"play": [{"signal": "approval", "timeout": 0.05}]})
    assert only(lines, "session.run.failed")["code"] == "signal_timeout"


def test_c21_a_second_signal_is_answered_with_200_and_the_first_payload(chat: Conversation):
    with chat.stream(0, {"play": [{"signal": "approval"}, say("done")]}) as reading:
        reading.until("session.run.suspended")
        first = signal(chat, {"ok": True})
        second = signal(chat, {"ok": False})
        lines = reading.rest()
    late = signal(chat, "long after")
    assert (first.status_code, second.status_code, late.status_code) == (202, 200, 200)
    assert first.json()["payload"] == {"ok": True}
    assert first.json() == second.json() == late.json()
    assert only(lines, "signal") == {"payload": {"ok": True}}


def test_c22_now_uuid_and_random_are_equal_on_every_attempt_and_on_replay(chat: Conversation):
    order = {"plays": [[{"fixed": True}, FAIL], [{"fixed": True}, say("done")]]}
    first = only(chat.ask(0, order), "fixed")
    second = chat.ask(0, order)
    assert only(second, "fixed") == first
    assert types(second)[-1] == "session.run.completed"
    assert only(chat.events(), "fixed") == first
    assert len(set(map(str, first.values()))) == 3


def test_c23_the_input_is_the_same_whatever_the_order_of_its_keys(chat: Conversation):
    body = chat.body({"play": [say("x")]}, project="legal", domain="tax", model="small")
    for order in (body, dict(reversed(body.items()))):
        response = chat.http.post(chat.path(0), content=json.dumps(order), headers={"content-type": "application/json"})
        assert response.status_code == 200, response.text
    assert len(chat.recorder.calls(chat.run_id(0), "produce")) == 1


def test_c23_a_steps_input_is_the_same_whatever_the_order_of_its_keys(chat: Conversation):
    inputs = [{"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}, {"a": 1, "b": 2}]
    order = {"plays": [[step("search", 1, input=given), FAIL] for given in inputs]}
    codes = [only(chat.ask(0, order), "session.run.failed")["code"] for _ in inputs]
    assert codes == ["producer_error", "producer_error", "step_input_mismatch"]
    assert ran(chat) == ["step search"]
