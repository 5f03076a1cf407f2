"""An agent of the OpenAI Agents SDK as a turn. Every model request and every tool is a step; the refund asks a person.

It needs `pip install openai-agents` and OPENAI_API_KEY. `signal` in `tool.call.deferred` names what to send:

    TURNWIRE_HOOKS=examples.openai_agent:hooks python3 dev.py
    curl -N 127.0.0.1:8000/v1/sessions/a/turns/0 -H 'Content-Type: application/json' -d '{"message":"7 is broken"}'
    curl 127.0.0.1:8000/v1/sessions/a/turns/0/signals/approval-1 --json '{"payload":{"ok":true}}'
"""

import os

from agents import Agent, function_tool

from turnwire.agents.openai_agents import AgentHooks

DAY_S = 86_400


@function_tool
async def look_up(order: str) -> str:
    """Look up an order."""
    return f"order {order} arrived broken"


@function_tool(needs_approval=True)
async def refund(order: str) -> str:
    """Refund an order. A crash before its checkpoint runs it again, so a real one passes the bank a key."""
    return f"refund of order {order}"


agent = Agent(
    name="shop",
    model=os.environ.get("AGENT_MODEL", "gpt-5.2"),
    instructions="You help customers of a shop. Look an order up before you refund it.",
    tools=[look_up, refund],
)

hooks = AgentHooks(agent, signal_timeout_s=DAY_S)
