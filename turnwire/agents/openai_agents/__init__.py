"""Runs an unchanged agent of the OpenAI Agents SDK as a turn. It needs `pip install turnwire[openai-agents]`.

docs/how-to/agents.md shows how. Only who imports this module imports the SDK, whose own package is called `agents`.
"""

from turnwire.agents.openai_agents.hooks import AgentHooks, run_agent

__all__ = ["AgentHooks", "run_agent"]
