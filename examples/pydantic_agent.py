"""An agent of Pydantic AI as a turn. Every model request and every tool is a step, and the refund asks a person.

Without AGENT_MODEL, a model that only pretends calls every tool. `signal` in `tool.call.deferred` names what to send:

    TURNWIRE_HOOKS=examples.pydantic_agent:hooks python3 dev.py
    curl -N 127.0.0.1:8000/v1/sessions/a/turns/0 -H 'Content-Type: application/json' -d '{"message":"7 is broken"}'
    curl 127.0.0.1:8000/v1/sessions/a/turns/0/signals/approval-1 --json '{"payload":{"ok":true}}'
"""

import os
from dataclasses import dataclass

from pydantic_ai import Agent, RunContext

from turnwire import Turn
from turnwire.agents.pydantic_ai import AgentHooks

DAY_S = 86_400


@dataclass
class Customer:
    """What the tools know of who asks."""

    user: str


agent = Agent(
    os.environ.get("AGENT_MODEL", "test"),  # for example openai:gpt-5.2; install pydantic-ai-slim[openai] for that
    name="shop",
    deps_type=Customer,
    instructions="You help customers of a shop. Look an order up before you refund it.",
)


@agent.tool
async def look_up(ctx: RunContext[Customer], order: str) -> dict[str, str]:
    """Look up an order."""
    return {"order": order, "buyer": ctx.deps.user, "state": "arrived broken"}


@agent.tool(requires_approval=True)
async def refund(ctx: RunContext[Customer], order: str) -> str:
    """Refund an order. A crash before its checkpoint runs it again with the same key, so that a bank can notice."""
    return f"refund {ctx.run_id}/{ctx.tool_call_id} of order {order}"


def customer(turn: Turn) -> Customer:
    """Return the dependencies of a turn's run."""
    return Customer(turn.user_id or "somebody")


hooks = AgentHooks(agent, deps=customer, signal_timeout_s=DAY_S)
