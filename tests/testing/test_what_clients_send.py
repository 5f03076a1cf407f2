"""run_turn with all that a client may send beside a text: parts, options, a parent."""

from typing import Any

import pytest

from tests.testing.products import say
from turnwire import ChatTurnHooks
from turnwire.shared.errors import InvalidInput, UnknownParent
from turnwire.testing import run_turn


class Reads(ChatTurnHooks):
    def produce(self, turn):
        yield say(f"{turn.message} {turn.text!r} {turn.options} {turn.history()}")


async def test_a_turn_has_the_parts_and_the_options_of_its_client():
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": "see"},
        {"type": "input_file", "input_file": {"url": "https://a/b.pdf"}},
    ]
    run = await run_turn(Reads(), parts, options={"temperature": 1})
    assert run.final_text == f"{parts} 'see' {{'temperature': 1.0}} []"
    assert (run.record.message, run.record.options) == (parts, {"temperature": 1.0})
    run = await run.ask([{"type": "text", "text": "hi"}])
    assert (run.final_text or "").startswith("hi 'hi' {} [{'role': 'user', 'content': [{'type': 'text', 'text': 'see'}")
    for wrong in ({"message": [{"type": "text"}]}, {"message": "hi", "options": {"top_p": 2}}):
        with pytest.raises(InvalidInput):
            await run_turn(Reads(), **wrong)


class Remembers(ChatTurnHooks):
    def produce(self, turn):
        yield say(f"{turn.parent}: " + " ".join(message["content"] for message in turn.history()))


async def test_a_turn_follows_the_parent_that_it_is_given():
    history = [("q0", "a0"), ("q1", "a1")]
    run = await run_turn(Remembers(), "hello", history=history)
    assert run.final_text == "1: q0 a0 q1 a1"
    assert (await run.ask("q1", parent=0)).final_text == "0: q0 a0"
    assert (await run.ask("more")).final_text == "3: q0 a0 q1 0: q0 a0"
    assert (await run_turn(Remembers(), "hello", history=history, parent=-1)).final_text == "None: "
    with pytest.raises(UnknownParent):
        await run_turn(Remembers(), "hello", history=history, parent=2)
