"""Agents that the tests run. Their models are functions; nothing asks a model server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.exceptions import CallDeferred
from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel

from turnwire.testing import Calls

Pieces = AsyncIterator[Any]


def results_in(messages: list[ModelMessage]) -> dict[str, Any]:
    """Return the results of the tools that the model was told, by tool."""
    requests = [message for message in messages if isinstance(message, ModelRequest)]
    parts = [part for request in requests for part in request.parts]
    return {part.tool_name: part.content for part in parts if isinstance(part, ToolReturnPart)}


class Shop:
    """An agent that looks up an order, refunds it after an approval, asks the bank, and then answers.

    `calls` counts the model requests and the tools. `seen` are the messages of the latest request.
    """

    def __init__(self) -> None:
        self.calls = Calls()
        self.seen: list[ModelMessage] = []
        self.agent = Agent(FunctionModel(stream_function=self.model, model_name="m"), name="shop")
        self.agent.tool_plain(self.look_up)
        self.agent.tool_plain(requires_approval=True)(self.refund)
        self.agent.tool_plain(self.bank)

    async def model(self, messages: list[ModelMessage], _info: AgentInfo) -> Pieces:
        self.calls.note("model")
        self.seen = messages
        results = results_in(messages)
        if "look_up" not in results:
            yield {0: DeltaThinkingPart(content="Let me see.")}
            yield "One moment."
            yield {2: DeltaToolCall("look_up", tool_call_id="c1")}
            yield {2: DeltaToolCall(json_args='{"order":')}
            yield {2: DeltaToolCall(json_args='"7"}')}
        elif "refund" not in results:
            yield {0: DeltaToolCall("refund", '{"order":"7"}', tool_call_id="c2")}
        elif "bank" not in results:
            yield {0: DeltaToolCall("bank", "{}", tool_call_id="c3")}
        else:
            for word in ("You ", "get ", str(results["refund"]), " ", str(results["bank"])):
                yield word

    def look_up(self, order: str) -> str:
        self.calls.note("look_up")
        return f"{order} is broken"

    async def refund(self, order: str) -> str:
        self.calls.note("refund")
        return f"40 for {order}"

    def bank(self) -> str:
        self.calls.note("bank")
        raise CallDeferred


class Talks:
    """An agent whose model says `words` words and then waits for ever. `closed`: its stream was closed."""

    def __init__(self, words: int) -> None:
        self.words = words
        self.closed = False
        self.agent = Agent(FunctionModel(stream_function=self.model, model_name="m"))

    async def model(self, messages: list[ModelMessage], _info: AgentInfo) -> Pieces:
        try:
            for number in range(self.words):
                yield f"{number} "
            await asyncio.Event().wait()
        finally:
            self.closed = True
