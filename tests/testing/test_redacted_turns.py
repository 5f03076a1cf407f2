"""With a hook `redact`, neither the log nor a checkpoint of a stream nor the answer holds what it takes out."""

from typing import Any

import pytest

from tests.testing.products import SECRET, Hides
from turnwire import ChatStreamEvent, Turn, redacted
from turnwire.testing import TurnRun, run_turn


def everything(run: TurnRun) -> str:
    return f"{run.events} {run.steps} {run.record} {run.final_text} {run.persist_calls}"


class WithText:
    """A producer whose final text is its own."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def final_text(self) -> str:
        return f"card {SECRET}"


@pytest.mark.parametrize("message", ["plain", "stream", "fail"])
async def test_nothing_that_is_stored_holds_it(message: str):
    run = await run_turn(Hides(), message)
    assert SECRET not in everything(run)
    assert "thought" not in everything(run)
    assert run.status == ("failed" if message == "fail" else "completed")
    kept = run.record.partial_text if message == "fail" else run.final_text
    assert "####" in (kept or "")
    assert run.log_flaws == []


async def test_a_final_text_of_the_producers_own_is_redacted():
    class Own(Hides):
        def produce(self, turn: Turn) -> Any:
            return WithText(self.words())

    run = await run_turn(Own(), "plain")
    assert run.final_text == "card ####"
    assert SECRET not in everything(run)


@pytest.mark.parametrize("message", ["plain", "stream"])
@pytest.mark.parametrize("crash", ["checkpoint.after", "settle", 3])
async def test_a_later_attempt_yields_the_same_pieces(message: str, crash: Any):
    if message == "plain" and crash == "checkpoint.after":
        crash = "append"
    first = await run_turn(Hides(), message)
    again = await run_turn(Hides(), message, crash_after=crash)
    assert again.final_text == first.final_text
    assert again.log_flaws == []
    texts = [event.data for event in first.events if event.type == "message.part.updated"]
    assert [event.data for event in again.events if event.type == "message.part.updated"] == texts
    assert SECRET not in everything(again)


async def test_a_hook_that_fails_fails_the_turn():
    class Fails(Hides):
        def redact(self, turn: Turn, event: ChatStreamEvent) -> Any:
            return 7

    run = await run_turn(Fails(), "plain")
    assert run.error is not None
    assert run.error.code == "redact_failed"
    assert SECRET not in everything(run)


def test_the_shape_of_an_event_can_be_told_without_its_content():
    data = {"id": "c1", "name": "pay", "arguments": SECRET, "n": 2, "more": [{"x": "ab"}], "none": None}
    shape = {"id": "c1", "name": "[3 characters]", "arguments": "[9 characters]", "n": 2, "none": None}
    shape["more"] = [{"x": "[2 characters]"}]
    assert redacted({"type": "tool.call", "data": data}) == ChatStreamEvent("tool.call", shape)
    assert data["arguments"] == SECRET
    error = ChatStreamEvent("error", {"code": "timeout", "message": "no", "retryable": True})
    assert redacted(error).data == {"code": "timeout", "message": "[2 characters]", "retryable": True}
    assert redacted({"type": "empty"}) == ChatStreamEvent("empty", {})
