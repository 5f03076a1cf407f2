"""Runs an unchanged Pydantic AI agent as a turn. It needs `pip install turnwire[pydantic-ai]`.

docs/how-to/agents.md shows how. Only who imports this module imports Pydantic AI.
"""

from turnwire.agents.pydantic_ai.hooks import AgentHooks, run_agent

__all__ = ["AgentHooks", "run_agent"]
