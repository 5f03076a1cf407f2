"""The product of the demo: a step that asks the model, a step that searches, and an answer whose stream is a step."""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from turnwire import ChatStreamEvent, ChatTurnHooks, Turn
from turnwire.backends import OpenAIBackend, assistant_message

SEARCH_S = 0.3


class DemoProduct(ChatTurnHooks):
    """Plans, searches and answers. An answer that its worker did not survive goes on where it broke off."""

    continues_answers = True

    def __init__(self, backend: OpenAIBackend) -> None:
        self._backend = backend

    async def produce(self, turn: Turn) -> AsyncGenerator[dict[str, Any] | ChatStreamEvent]:
        """Plan, search and answer. A step that has ended is not run again."""
        question = {"role": "user", "content": turn.message}
        plan = await turn.step("plan", lambda: self._plan(turn, question), kind="llm")
        yield {"type": "plan", "data": {"text": plan}}
        found = await turn.step("search", self._search, kind="tool", input=plan)
        yield {"type": "found", "data": {"documents": found}}
        messages = [question, {"role": "assistant", "content": plan}, {"role": "user", "content": " ".join(found)}]
        ask = partial(self._backend.ask, turn, messages, name="answer", begun=turn.partial_events)
        async for event in turn.stream("answer", ask):
            yield event

    async def _plan(self, turn: Turn, question: dict[str, str]) -> str:
        said = assistant_message([event async for event in self._backend.ask(turn, [question], name="plan")])
        return str(said["content"])

    async def _search(self) -> list[str]:
        await asyncio.sleep(SEARCH_S)
        return ["leases.md", "checkpoints.md"]

    async def aclose(self) -> None:
        """Close the connections, because the worker stops."""
        await self._backend.aclose()


hooks = DemoProduct(OpenAIBackend.from_env())
