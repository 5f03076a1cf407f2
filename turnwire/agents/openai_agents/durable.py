"""Copies an agent of the SDK, with all agents that it may hand over to, so that its tools and models are steps."""

import asyncio
import copy
from typing import Any

from agents import Agent, FunctionTool, Handoff, Model
from pydantic_core import to_jsonable_python

from turnwire import Turn
from turnwire.agents.inside import inside, is_inside
from turnwire.agents.openai_agents.model import Requests, step_model
from turnwire.agents.outlet import Outlet


class DurableCopies:
    """Makes the copies for one run. The agents themselves stay as they are."""

    def __init__(self, turn: Turn, outlet: Outlet, requests: Requests) -> None:
        self._turn = turn
        self._outlet = outlet
        self._requests = requests
        self._copies: dict[int, Agent[Any]] = {}
        self._one_at_a_time = asyncio.Lock()  # steps are known by their order, and so are the events of the tools

    def of(self, agent: Agent[Any]) -> Agent[Any]:
        """Return the copy of an agent. Agents may hand over to each other in circles."""
        if (made := self._copies.get(id(agent))) is not None:
            return made
        self._copies[id(agent)] = made = agent.clone(tools=[self._tool(tool) for tool in agent.tools], handoffs=[])
        self._copies[id(made)] = made
        if isinstance(agent.model, Model):
            made.model = step_model(agent.model, self._requests)
        made.handoffs = [self._handoff(handoff) for handoff in agent.handoffs]
        return made

    def _handoff(self, handoff: Any) -> Any:
        if isinstance(handoff, Agent):
            return self.of(handoff)
        assert isinstance(handoff, Handoff)
        invoke = handoff.on_invoke_handoff

        async def durable(context: Any, arguments: str) -> Any:
            return self.of(await invoke(context, arguments))

        made = copy.copy(handoff)
        made.on_invoke_handoff = durable
        return made

    def _tool(self, tool: Any) -> Any:
        """Return a tool whose calls are steps. Tools that the model's own server runs stay as they are."""
        if not isinstance(tool, FunctionTool):
            return tool
        invoke = tool.on_invoke_tool

        async def durable(context: Any, arguments: str) -> Any:
            if is_inside():
                return await invoke(context, arguments)

            async def work() -> Any:
                with inside():
                    return to_jsonable_python(await invoke(context, arguments))

            async with self._one_at_a_time:
                call = {"id": context.tool_call_id, "name": tool.name, "arguments": arguments}
                await self._outlet.put({"type": "tool.call", "data": call})
                result = await self._turn.step(f"tool:{tool.name}", work, kind="tool")
                await self._outlet.put({"type": "tool.result", "data": {"id": context.tool_call_id, "result": result}})
            return result

        made = copy.copy(tool)
        made.on_invoke_tool = durable
        return made
