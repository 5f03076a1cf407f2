"""Agents of both frameworks whose models ask with a backend of Turnwire."""

from collections.abc import Sequence
from typing import Any

from tests.support.later import Later
from turnwire.backends import OpenAIBackend, sdk_client

pydantic, sdk = Later("turnwire.agents.pydantic_ai"), Later("turnwire.agents.openai_agents")


def look_up() -> str:
    """Look something up."""
    return "found"


def pydantic_agent(backend: OpenAIBackend, tools: Sequence[Any] = (look_up,)) -> Any:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url="http://nobody", http_client=sdk_client(backend))
    return Agent(OpenAIChatModel("m", provider=provider), name="talker", instructions="Count.", tools=tools)


def sdk_agent(backend: OpenAIBackend, tools: Sequence[Any] = (look_up,)) -> Any:
    import agents
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(True)
    client = AsyncOpenAI(base_url="http://nobody", api_key="none", http_client=sdk_client(backend))
    model, made = agents.OpenAIChatCompletionsModel("m", client), [agents.function_tool(tool) for tool in tools]
    return agents.Agent(name="talker", instructions="Count.", model=model, tools=made)


FRAMEWORKS = {"pydantic-ai": (pydantic, pydantic_agent), "openai-agents": (sdk, sdk_agent)}
