"""The model requests of an agent are spans, in the steps that they are."""

from tests.traces.memory import id_of, parent_of, traced
from turnwire.testing import run_turn


async def test_a_model_request_of_an_agent_is_a_span_in_its_step():
    from pydantic_ai import Agent
    from pydantic_ai.models.test import TestModel

    from turnwire.agents.pydantic_ai import AgentHooks

    with traced() as kept:
        run = await run_turn(AgentHooks(Agent(TestModel(custom_output_text="PLANTED"), name="helper")), "PLANTED")
    assert run.final_text == "PLANTED"
    span = kept.one("chat test")
    [step] = [each for each in kept.spans if id_of(each) == parent_of(span)]
    assert step.name.startswith("step ")
    attributes = kept.attributes("chat test")
    assert (attributes["gen_ai.operation.name"], attributes["gen_ai.request.model"]) == ("chat", "test")
    assert attributes["gen_ai.usage.output_tokens"] > 0
    assert attributes["gen_ai.provider.name"] == "test"
    assert "PLANTED" not in "".join(each.to_json() for each in kept.spans)
