"""A gate before the answer: a short question to the model decides whether enough is known, or asks the user back.

    TURNWIRE_LLM_BASE_URL=http://…/v1 TURNWIRE_HOOKS=examples.gate:hooks python3 dev.py

Both calls of the model are steps, so a crash between them does not ask again whether enough is known.
"""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from turnwire import ChatTurnHooks, Turn
from turnwire.backends import OpenAIBackend, assistant_message

GATE = "Can you answer the user well with what you know? If so, say OK. If not, ask for the one thing that is missing."
backend = OpenAIBackend.from_env()


class Gate(ChatTurnHooks):
    """Answers, or asks back. The user's next message is a turn of its own, whose history has the question."""

    async def produce(self, turn: Turn) -> AsyncGenerator[Any]:
        """The events of the answer, or one with the question."""
        messages = [*turn.history(), {"role": "user", "content": turn.message}]
        missing = await turn.step("gate", partial(self._missing, turn, messages), kind="llm")
        if missing:
            yield {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": missing}}
            return
        async for event in turn.stream("answer", partial(backend.ask, turn, messages, name="answer")):
            yield event

    async def _missing(self, turn: Turn, messages: list[Any]) -> str:
        asked = [{"role": "system", "content": GATE}, *messages]
        events = [event async for event in backend.ask(turn, asked, name="gate", options={"max_tokens": 60})]
        said = str(assistant_message(events)["content"]).strip()
        return "" if said.upper().startswith("OK") else said

    async def aclose(self) -> None:
        """Close the connections when the worker stops."""
        await backend.aclose()


hooks = Gate()
