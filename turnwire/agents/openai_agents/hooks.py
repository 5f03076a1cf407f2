"""The hooks that run an agent of the SDK, and the generator that they consist of."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable
from itertools import count
from typing import Any

from agents import Agent, Model, RunConfig, Runner, RunState
from pydantic_core import to_json

from turnwire import SignalTimeoutError, Turn
from turnwire.agents.backend_hooks import BackendHooks
from turnwire.agents.openai_agents.durable import DurableCopies
from turnwire.agents.openai_agents.model import Requests, StepModels, step_model
from turnwire.agents.outlet import Outlet
from turnwire.backends import OpenAIBackend


async def run_agent(
    agent: Agent[Any],
    turn: Turn,
    *,
    input: Any = None,  # noqa: A002 - the word of the SDK
    run_config: RunConfig | None = None,
    signal_timeout_s: float | None = None,
    **options: Any,
) -> AsyncGenerator[dict[str, Any]]:
    """Run an agent, in a producer that yields these events.

    Every model request and every call of a function tool is a step. A tool that needs an approval waits for a signal,
    which the event `tool.call.deferred` names.

    Args:
        agent: an agent of the SDK, which may hand over to others.
        turn: the turn that `produce` is called for.
        input: a text or a list of input items; default: the turn's history and message, which must be text.
        run_config: as for `Runner.run`.
        signal_timeout_s: seconds to wait for each approval; None: no limit.
        options: other arguments of `Runner.run`: context, max_turns, hooks, …

    Yields: the events of the run; the last one is `result`. An output that is not a str is in it as JSON.

    Raises:
        Exception: whatever the run raises.
    """
    outlet = Outlet()
    requests = Requests(turn, outlet)
    config = run_config or RunConfig()
    model = step_model(config.model, requests) if isinstance(config.model, Model) else config.model
    config = dataclasses.replace(config, model=model, model_provider=StepModels(config.model_provider, requests))
    made = DurableCopies(turn, outlet, requests).of(agent)
    first = [*turn.history(), {"role": "user", "content": turn.text}] if input is None else input
    approvals = Approvals(turn, outlet, signal_timeout_s)

    async def run() -> Any:
        result = await Runner.run(made, first, run_config=config, **options)
        while result.interruptions:
            state = result.to_state()
            await approvals.answer(state, result.interruptions)
            result = await Runner.run(made, state, run_config=config)
        return result.final_output

    task = asyncio.create_task(run(), name=f"agent of {turn.run_id}")
    events = outlet.events_of(task)
    turn.closes(events)  # so that what a cancelled run has used is counted
    async for event in events:
        yield event
    output = task.result()
    yield {"type": "result", "data": {"finalText": output if isinstance(output, str) else to_json(output).decode()}}


class Approvals:
    """Waits for the approvals of one run. Each has a key of its own: a yes is for one call."""

    def __init__(self, turn: Turn, outlet: Outlet, timeout_s: float | None) -> None:
        self._turn = turn
        self._outlet = outlet
        self._timeout_s = timeout_s
        self._numbers = count(1)

    async def answer(self, state: RunState[Any], calls: list[Any]) -> None:
        """Say in events which calls wait, then approve or reject each as its signal says."""
        keys = [f"approval-{next(self._numbers)}" for _ in calls]
        for call, key in zip(calls, keys, strict=True):
            data = {"id": call.call_id, "name": call.tool_name, "arguments": call.arguments or "{}"}
            deferred = {**data, "kind": "approval", "signal": key}
            await self._outlet.put({"type": "tool.call.deferred", "data": deferred})
        await self._outlet.drained()  # the client must see what is asked before the turn is suspended
        for call, key in zip(calls, keys, strict=True):
            try:
                said = await self._turn.signal(key, timeout=self._timeout_s)
            except SignalTimeoutError:
                said = {"message": "Nobody has answered in time."}
            if isinstance(said, dict) and said.get("ok") is True:
                state.approve(call)
            else:
                message = said.get("message") if isinstance(said, dict) else None
                state.reject(call, rejection_message=message if isinstance(message, str) else None)


class AgentHooks(BackendHooks):
    """Hooks whose turns are runs of one agent."""

    def __init__(
        self,
        agent: Agent[Any],
        *,
        context: Callable[[Turn], Any] | None = None,
        backend: OpenAIBackend | None = None,
        **options: Any,
    ) -> None:
        """Take an agent as it is.

        Args:
            agent: an agent of the SDK.
            context: returns the context of a turn's run; None: there is none. It is called on every attempt.
            backend: the backend that the agent's models ask with, by `sdk_client`; None: they ask without one.
            options: other arguments of `run_agent`, the same for every turn.
        """
        super().__init__(backend)
        self._agent = agent
        self._context = context
        self._options = options

    async def produce(self, turn: Turn) -> AsyncGenerator[dict[str, Any]]:
        """Run the agent; see `run_agent`."""
        options = self._options if self._context is None else {**self._options, "context": self._context(turn)}
        async for event in run_agent(self._agent, turn, **options):
            yield event
