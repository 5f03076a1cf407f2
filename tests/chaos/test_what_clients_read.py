"""The verification of chaos finds each kind of violation in what clients read. Each test plants one."""

import random
from typing import Any

import pytest

from chaos import verify
from chaos.client import Answer
from chaos.faults import FAULTS, allowed_ends

Line = dict[str, Any]


def delta(cursor: str, text: str) -> Line:
    return {"id": cursor, "type": "message.part.updated", "data": {"delta": text}}


def resumed(cursor: str, after: str) -> Line:
    return {"id": cursor, "type": "session.run.resumed", "data": {"after": after}}


def whole(text: str = "1.0 1.1 ", name: str = "") -> list[Line]:
    """Return what a client reads of a turn with two deltas."""
    first, second = text.split()
    return [
        {"id": "1-0", "type": "session.run.started", "data": {}},
        delta("1-1", f"{name}{first} "),
        delta("1-2", f"{name}{second} "),
        {"id": "1-3", "type": "result", "data": {"finalText": f"{name}{first} {name}{second} "}},
        {"id": "1-4", "type": "session.run.completed", "data": {}},
    ]


def check(lines: list[Line], **details: Any) -> str:
    return " | ".join(verify.check_lines(lines, events=2, **details))


def test_a_whole_answer_has_no_flaw():
    assert check(whole()) == ""
    assert check(whole(name="second"), name="second") == ""


def test_a_resumed_answer_has_no_flaw_if_the_dead_part_is_dropped():
    lines = whole("2.0 2.1 ")
    cursors = ["2-2", "2-3", "2-4", "2-5"]
    rest = [line | {"id": cursor} for line, cursor in zip(lines[1:], cursors, strict=True)]
    assert check([lines[0], delta("1-1", "1.0 "), resumed("2-1", "1-0"), *rest]) == ""


PLANTED = [
    ("an event twice", lambda lines: [*lines[:2], lines[1], *lines[2:]], "ids do not ascend"),
    ("an event is missing", lambda lines: [*lines[:1], *lines[2:]], "seq is not dense"),
    ("no beginning", lambda lines: lines[1:], "not from started"),
    ("no end", lambda lines: lines[:-1], "not exactly one terminal event"),
    ("two ends", lambda lines: [*lines, lines[-1] | {"id": "1-5"}], "not exactly one terminal event"),
    ("it failed", lambda lines: [*lines[:-1], lines[-1] | {"type": "session.run.failed"}], "not from started"),
    ("two attempts mixed", lambda lines: [*lines[:2], delta("1-2", "2.1 "), *lines[3:]], "the text is"),
    ("the result is another text", lambda lines: [*lines[:2], delta("1-2", "1.1 1.2 "), *lines[3:]], "the text is"),
    ("another deployment's text", lambda _: whole(name="second"), "not one of the deployment ''"),
]


@pytest.mark.parametrize(("plant", "words"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED])
def test_a_flaw_in_the_lines_is_found(plant, words):
    assert words in check(plant(whole()))


def test_a_result_that_is_not_the_text_is_found():
    lines = whole()
    lines[3] = lines[3] | {"data": {"finalText": "1.0 "}}
    assert "results ['1.0 ']" in check(lines)


def test_the_payload_of_another_deployments_signal_is_found():
    lines = whole()
    assert "the text is" in check(lines, suffix="the payload of this deployment")


def test_a_replay_of_another_text_is_found():
    replay: list[Line] = [{"type": "session.run.started"}, {"type": "result", "data": {"finalText": "old"}}]
    replay.append({"type": "session.run.completed"})
    assert verify.check_replay(replay, "old") == []
    assert verify.check_replay(replay, "new")
    assert verify.check_replay(replay[1:], "old")


class Records:
    """A client whose API gives this record and these lines for every turn."""

    def __init__(self, status: str, code: str | None, lines: list[Line]) -> None:
        self.answer = {"status": status, "error": {"code": code} if code else None}
        self.lines = lines

    async def record(self, _: Answer) -> Line:
        return self.answer

    async def read(self, _: Answer) -> list[Line]:
        return self.lines


ENDS = {("completed", None), ("failed", "attempts_exhausted"), ("failed", "bad_word"), ("cancelled", "cancelled")}


@pytest.mark.parametrize("fault", [None, *FAULTS])
async def test_an_end_that_a_fault_does_not_allow_is_found(fault, redis):
    """In particular, a turn that runs beside one that kills its worker must not fail with attempts_exhausted."""
    metadata = {"fault": fault} | FAULTS[fault].change(random.Random(1)) if fault else {}
    allowed = allowed_ends(metadata)
    assert len(allowed) < 3
    for status, code in ENDS - allowed:
        answer = Answer("s", 0, metadata)
        [found] = await verify.check_turn(Records(status, code, []), redis, answer, [])  # type: ignore[arg-type]
        assert f"it ended as ('{status}', " in found


def failed() -> list[Line]:
    lines = whole()
    return [*lines[:2], {"id": "1-2", "type": "session.run.failed", "data": {}}]


async def test_a_failed_turn_that_two_readers_see_differently_is_found(redis):
    answer = Answer("s", 0, {"leak": True}, lines=[*failed()[:1], failed()[2] | {"id": "1-1"}])
    client: Any = Records("failed", "producer_error", failed())
    assert "see different logs" in " ".join(await verify.check_turn(client, redis, answer, []))
    answer.lines = failed()
    assert await verify.check_turn(client, redis, answer, []) == []


async def test_an_answer_that_is_stored_for_a_turn_without_one_is_found(redis):
    answer = Answer("s", 0, {"cancel_at": 1}, lines=failed())
    client: Any = Records("cancelled", "cancelled", failed())
    assert await verify.check_turn(client, redis, answer, [{"call": "produce"}]) == []
    found = await verify.check_turn(client, redis, answer, [{"call": "persist_assistant_message"}])
    assert "it has no answer" in " ".join(found)


def test_a_reader_begins_anew_when_a_failover_lost_the_turns_events():
    lines = whole("1.0 1.1 ")[:2]
    anew = [line | {"id": line["id"].replace("1-", "1001-", 1)} for line in whole("1001.0 1001.1 ")]
    assert check([*lines, *anew]) == ""
    second = [line | {"id": line["id"].replace("1-", "2-", 1)} for line in whole("2.0 2.1 ")]
    assert "seq is not dense" in check([*lines, *second])
