"""`parent`: other answers and edited messages are turns of other branches."""

import pytest

from tests.conformance.conversation import Conversation, only, say
from tests.conformance.problem import check_problem

HISTORY = {"play": [{"history": True}]}


def contents(lines) -> list[str]:
    return [message["content"] for message in only(lines, "history")["messages"]]


def test_another_answer_sees_what_the_old_one_saw(chat: Conversation):
    chat.ask(0, {"play": [say("Rome")]}, message="a city?")
    chat.ask(1, {"play": [say("Tiber")]}, message="a river?")
    assert contents(chat.ask(2, HISTORY, message="a river?", parent=0)) == ["a city?", "Rome"]
    assert contents(chat.ask(3, HISTORY, message="a country?", parent=-1)) == []
    assert contents(chat.ask(4, HISTORY, message="how long?", parent=1)) == ["a city?", "Rome", "a river?", "Tiber"]
    listed = chat.http.get(chat.turns).json()["turns"]
    assert [record["parent"] for record in listed] == [-1, 0, 0, -1, 1]


def test_it_does_not_wait_for_the_old_answer(chat: Conversation):
    hold = chat.hold("old")
    chat.ask(0, {"play": [say("Rome")]})
    chat.submit(1, {"play": [{"hold": hold}]})
    chat.recorder.wait_held(hold)
    chat.ask(2, parent=0)
    assert chat.record(1)["status"] == "running"
    chat.recorder.release(hold)


def test_the_turns_of_a_branch_run_one_after_the_other(chat: Conversation):
    hold = chat.hold("branch")
    chat.ask(0)
    chat.submit(1, {"play": [say("a"), {"hold": hold}]}, message="q", parent=0)
    chat.recorder.wait_held(hold)
    chat.submit(2, HISTORY, parent=1)
    chat.submit(3, HISTORY, parent=1)
    chat.ask(4, parent=0)
    assert [chat.record(index)["status"] for index in (1, 2, 3)] == ["running", "queued", "queued"]
    chat.recorder.release(hold)
    assert contents(chat.events(2))[-2:] == contents(chat.events(3))[-2:] == ["q", "a"]


@pytest.mark.parametrize("parent", [1, 2, 7])
def test_a_parent_that_is_no_earlier_turn_is_refused(chat: Conversation, parent: int):
    chat.ask(0)
    chat.ask(2)
    check_problem(chat.post(1, parent=parent), 422, "unknown_parent")


@pytest.mark.parametrize("parent", [-2, 1.5, "0", 2**31, True])
def test_a_parent_that_is_no_index_is_refused(chat: Conversation, parent: object):
    check_problem(chat.post(0, parent=parent), 422, "invalid")


def test_another_parent_is_another_input(chat: Conversation):
    chat.ask(0)
    chat.ask(1, message="q", parent=0)
    for parent in (None, -1):
        check_problem(chat.post(1, message="q", parent=parent), 422, "input_mismatch")
    assert chat.post(1, message="q", parent=0).headers["idempotent-replayed"] == "true"
