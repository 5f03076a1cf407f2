"""An agent with two tools. Every call of the model and every tool is a step. The tool that moves money asks a person.

Run it with a model server that calls tools. `awaiting` in `session.run.suspended` names the signal to send:

    TURNWIRE_LLM_BASE_URL=http://…/v1 TURNWIRE_HOOKS=examples.agent:hooks python3 dev.py
    curl -N 127.0.0.1:8000/v1/sessions/a/turns/0 -H 'Content-Type: application/json' -d '{"message":"7 is broken"}'
    curl 127.0.0.1:8000/v1/sessions/a/turns/0/signals/approval-1 --json '{"payload":{"ok":true}}'
"""

from collections.abc import AsyncGenerator, Iterator
from functools import partial
from itertools import count
from typing import Any

from examples.orders import NEEDS_APPROVAL, TOOLS, work_of
from turnwire import ChatTurnHooks, Turn, TurnFailure
from turnwire.backends import OpenAIBackend, assistant_message, tool_message

ROUNDS, DAY_S = 8, 86_400
backend = OpenAIBackend.from_env()


class Agent(ChatTurnHooks):
    """Asks the model, does what it calls for, and asks again with the results, until it answers."""

    async def produce(self, turn: Turn) -> AsyncGenerator[Any]:
        """The events of every answer, and a `tool.result {id, result}` for each call."""
        messages: list[Any] = [*turn.history(), {"role": "user", "content": turn.message}]
        approvals = count(1)  # each approval has a key of its own: a yes is for one call
        for number in range(1, ROUNDS + 1):
            said, name = [], f"model-{number}"
            async for event in turn.stream(name, partial(backend.ask, turn, messages, name=name, tools=TOOLS)):
                said.append(event)
                yield event
            messages.append(answer := assistant_message(said))
            if not answer.get("tool_calls"):
                yield {"type": "result", "data": {"finalText": answer["content"]}}  # the last answer alone
                return
            for call in answer["tool_calls"]:
                messages.append(result := tool_message(call, await self._use(turn, call, approvals)))
                yield {"type": "tool.result", "data": {"id": call["id"], "result": result["content"]}}
        raise TurnFailure("the model calls tools without end", code="too_many_rounds")

    async def _use(self, turn: Turn, call: dict[str, Any], approvals: Iterator[int]) -> Any:
        if (work := work_of(call)) is None:
            return {"error": "there is no such tool, or the arguments are wrong"}  # the model may try again
        key = f"approval-{next(approvals)}" if (name := call["function"]["name"]) in NEEDS_APPROVAL else None
        if key and await turn.signal(key, timeout=DAY_S) != {"ok": True}:
            return {"error": "a person refused"}
        return await turn.step(name, work, kind="tool", input=call["function"])

    async def aclose(self) -> None:
        """Close the connections when the worker stops."""
        await backend.aclose()


hooks = Agent()
