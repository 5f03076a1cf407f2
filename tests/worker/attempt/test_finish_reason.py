"""Why the model's answer ended: clients, hooks, records and ledger rows all know it, and a crash does not lose it."""

from typing import Any

import pytest

from tests.testing.products import say
from turnwire import ChatTurnHooks, ModelCall
from turnwire.api.endpoints.turns import replay_events
from turnwire.shared.events import encode_event
from turnwire.testing import run_turn


class Cut(ChatTurnHooks):
    """Its model's answer is cut by the token limit."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    async def produce(self, turn):
        async for event in turn.stream("answer", lambda: self.ask(turn)):
            yield event

    async def ask(self, turn):
        yield say("The contract is valid only if ")
        turn.usage.add(ModelCall("m", 3, 2, "length", 1, 0))

    async def persist_assistant_message(self, turn, final_text):
        self.seen.append(turn.usage.finish_reason)


@pytest.mark.parametrize("crash", [{}, {"crash_after": "checkpoint.answer"}, {"crash_before": "settle"}])
async def test_it_is_told_everywhere(crash: dict[str, Any]):
    hooks = Cut()
    run = await run_turn(hooks, "hello", **crash)
    told = {event.type: event.data.get("finishReason") for event in run.events}
    assert (told["result"], told["session.run.completed"]) == ("length", "length")
    assert hooks.seen == ["length"]
    assert run.usage is not None
    assert (run.usage.finish_reason, run.usage.cached_tokens, run.usage.reasoning_tokens) == ("length", 1, 0)
    assert "length" in [row.finish_reason for row in run.rows]
    result, completed = replay_events(run.record)[1:]
    assert result == encode_event("result", {"finalText": run.final_text, "finishReason": "length"})
    assert b'"finishReason":"length"' in completed


async def test_a_turn_without_a_model_has_none():
    class Silent(ChatTurnHooks):
        async def produce(self, turn):
            yield say("hello")

    run = await run_turn(Silent(), "hello")
    assert all("finishReason" not in event.data for event in run.events)
    assert run.usage is not None
    assert run.usage.finish_reason is None
