"""The hooks that run an agent, and the generator that they consist of."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from pydantic_ai.agent.abstract import AbstractAgent
from pydantic_ai.messages import ModelMessage, UserContent
from pydantic_ai.models import Model
from pydantic_core import to_json

from turnwire import Turn
from turnwire.agents.backend_hooks import BackendHooks
from turnwire.agents.outlet import Outlet
from turnwire.agents.pydantic_ai.durability import TurnDurability
from turnwire.agents.pydantic_ai.messages import history_of, prompt_of
from turnwire.backends import OpenAIBackend


async def run_agent(
    agent: AbstractAgent[Any, Any],
    turn: Turn,
    *,
    prompt: str | Sequence[UserContent] | None = None,
    history: Sequence[ModelMessage] | None = None,
    signal_timeout_s: float | None = None,
    models: Mapping[str, Model] | None = None,
    **options: Any,
) -> AsyncGenerator[dict[str, Any]]:
    """Run an agent, in a producer that yields these events.

    Every model request and every tool call is a step. A tool that needs an approval, or a result from outside, waits
    for a signal, which the event `tool.call.deferred` names.

    Args:
        agent: an agent of Pydantic AI. Its model must be able to stream.
        turn: the turn that `produce` is called for.
        prompt: the prompt; default: the turn's message.
        history: the earlier messages; default: the turn's history.
        signal_timeout_s: seconds to wait for each signal; None: no limit.
        models: further models that the run may ask, by a name of yours, if capabilities of the agent change the model.
        options: other arguments of `Agent.run`: deps, model, model_settings, usage_limits, …

    Yields: the events of the run; the last one is `result`. An output that is not a str is in it as JSON.

    Raises:
        Exception: whatever the agent raises.
    """
    outlet = Outlet()
    known = dict(models or {})
    if isinstance(model := options.get("model"), Model):
        known["run"] = model  # Pydantic AI refuses a model that the durability does not know
    durability = TurnDurability(turn, outlet, agent.name or "agent", signal_timeout_s, known)
    run = agent.run(
        prompt_of(turn.message) if prompt is None else prompt,
        message_history=history_of(turn.history()) if history is None else history,
        run_id=f"{turn.run_id}/{turn.created_at}",
        capabilities=[*options.pop("capabilities", ()), durability],
        **options,
    )
    task = asyncio.create_task(run, name=f"agent of {turn.run_id}")
    events = outlet.events_of(task)
    turn.closes(events)  # so that what a cancelled run has used is counted
    async for event in events:
        yield event
    output = task.result().output
    yield {"type": "result", "data": {"finalText": output if isinstance(output, str) else to_json(output).decode()}}


class AgentHooks(BackendHooks):
    """Hooks whose turns are runs of one agent."""

    def __init__(
        self,
        agent: AbstractAgent[Any, Any],
        *,
        deps: Callable[[Turn], Any] | None = None,
        signal_timeout_s: float | None = None,
        backend: OpenAIBackend | None = None,
        **options: Any,
    ) -> None:
        """Take an agent as it is.

        Args:
            agent: an agent of Pydantic AI. Its model must be able to stream.
            deps: returns the dependencies of a turn's run; None: there are none. It is called on every attempt.
            signal_timeout_s: seconds to wait for each signal; None: no limit.
            backend: the backend that the agent's models ask with, by `sdk_client`; None: they ask without one.
            options: other arguments of `run_agent`, the same for every turn.
        """
        super().__init__(backend)
        self._agent = agent
        self._deps = deps
        self._options = {"signal_timeout_s": signal_timeout_s, **options}

    async def produce(self, turn: Turn) -> AsyncGenerator[dict[str, Any]]:
        """Run the agent; see `run_agent`."""
        options = self._options if self._deps is None else {**self._options, "deps": self._deps(turn)}
        async for event in run_agent(self._agent, turn, **options):
            yield event
