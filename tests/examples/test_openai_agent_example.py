"""examples/openai_agent.py, in this process: a person is asked before the refund. Skipped without the SDK."""

from turnwire.testing import Calls, run_turn


async def test_it_refunds_after_a_yes():
    import agents

    from examples.openai_agent import agent
    from tests.frameworks.talker import Talker, calling, message
    from turnwire.agents.openai_agents import AgentHooks

    steps = [[calling("look_up", order="7")], [calling("refund", order="7")]]
    model = Talker(lambda done: steps[len(done)] if len(done) < 2 else [message(done["c-refund"])], Calls())
    hooks = AgentHooks(agent, run_config=agents.RunConfig(model=model))
    run = await run_turn(hooks, "7 is broken", signals={"approval-1": {"ok": True}})
    assert run.final_text == "refund of order 7"
    assert [step.kind for step in run.steps[:-1]] == ["llm", "tool", "llm", "signal", "tool", "llm"]
