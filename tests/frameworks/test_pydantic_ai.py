"""An unchanged Pydantic AI agent as a turn: its events, steps, usage, signals and end. No model is asked twice."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.support.later import Later
from turnwire import ChatTurnHooks, ModelCall, Turn
from turnwire.testing import TIMES_OUT, TurnRun, crash_at_each_write, run_turn

ai, durable, shops = Later("pydantic_ai"), Later("turnwire.agents.pydantic_ai"), Later("tests.frameworks.shops")
models, functions = Later("pydantic_ai.models.test"), Later("pydantic_ai.models.function")
# A run of an agent costs some 70 ms of its own code, and there are forty in one test. Beside many others, that is long.
pytestmark = pytest.mark.timeout(300)
YES = {"approval-1": {"ok": True}, "external-2": "by Monday"}


def data_of(run: TurnRun, event_type: str) -> list[dict[str, Any]]:
    return [event.data for event in run.events if event.type == event_type]


async def test_a_run_is_streamed_and_every_request_and_tool_is_a_step():
    shop = shops.Shop()
    run = await run_turn(durable.AgentHooks(shop.agent), "7 is broken", signals=YES)
    assert run.final_text == "You get 40 for 7 by Monday"
    assert [(step.intent.rpartition("__")[2], step.kind) for step in run.steps[:-1]] == [
        ("model.request_stream", "llm"),
        ("<agent>.call_tool:look_up", "tool"),
        ("model.request_stream", "llm"),
        ("signal:approval-1", "signal"),
        ("<agent>.call_tool:refund", "tool"),
        ("model.request_stream", "llm"),
        ("<agent>.call_tool:bank", "tool"),
        ("signal:external-2", "signal"),
        ("model.request_stream", "llm"),
    ]
    assert data_of(run, "reasoning.delta") == [{"delta": "Let me see."}]
    texts = [(data["part"]["id"], data["delta"]) for data in data_of(run, "message.part.updated")]
    assert texts[0] == ("text-1-1", "One moment.")
    assert [delta for part, delta in texts if part == "text-4-0"] == ["You ", "get ", "40 for 7", " ", "by Monday"]
    assert "".join(data["arguments"] for data in data_of(run, "tool.call.delta")[:3]) == '{"order":"7"}'
    assert data_of(run, "tool.call")[0] == {"id": "c1", "name": "look_up", "arguments": '{"order":"7"}'}
    assert data_of(run, "tool.result")[0] == {"id": "c1", "result": "7 is broken"}
    assert data_of(run, "tool.call.deferred") == [
        {"id": "c2", "name": "refund", "arguments": '{"order":"7"}', "kind": "approval", "signal": "approval-1"},
        {"id": "c3", "name": "bank", "arguments": "{}", "kind": "external", "signal": "external-2"},
    ]
    assert [data["reason"] for data in data_of(run, "session.run.resumed")] == ["signal", "signal"]  # none diverged
    assert shop.calls.counts == {"model": 4, "look_up": 1, "refund": 1, "bank": 1}


async def test_usage_is_counted_once_for_each_request():
    run = await run_turn(durable.AgentHooks(shops.Shop().agent), "7 is broken", signals=YES)
    assert [call.model for _, call in run.model_calls] == ["m"] * 4
    assert all(call.tokens_in and call.tokens_out for _, call in run.model_calls)
    assert run.usage is not None
    assert run.usage.tokens_in == sum(call.tokens_in or 0 for _, call in run.model_calls)


@pytest.mark.parametrize("modes", [["after"], pytest.param(["before", "after", "lost"], marks=pytest.mark.long)])
async def test_a_crash_at_any_write_repeats_nothing_that_was_stored(modes):
    shop = shops.Shop()
    hooks = durable.AgentHooks(shop.agent)
    report = await crash_at_each_write(hooks, "7 is broken", calls=shop.calls, signals=YES, modes=modes)
    assert report.problems == []
    undisturbed = {"model": 4, "look_up": 1, "refund": 1, "bank": 1}
    # A crash during a request or a tool repeats that one. A crash after its checkpoint repeats nothing.
    assert {sum((run.calls - Counter(undisturbed)).values()) for run in report.runs} == {0, 1}
    checkpoints = [run for run in report.runs if run.fault.startswith("crash after") and "checkpoint." in run.fault]
    assert len(checkpoints) == 9  # the producer's own step comes with the end
    assert [run.fault for run in checkpoints if run.calls != undisturbed] == []


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"ok": False, "message": "Too late."}, "Too late."),
        ({"ok": "yes"}, "The tool call was denied."),
        (TIMES_OUT, "Nobody has answered in time."),
    ],
)
async def test_a_tool_is_not_run_without_a_yes(payload, told):
    shop = shops.Shop()
    hooks = durable.AgentHooks(shop.agent, signal_timeout_s=60)
    run = await run_turn(hooks, "7 is broken", signals={"approval-1": payload, "external-2": "x"})
    assert run.status == "completed"
    assert shop.calls.counts["refund"] == 0
    assert shops.results_in(shop.seen)["refund"] == told


async def test_who_approves_may_change_the_arguments():
    shop = shops.Shop()
    yes = {"ok": True, "arguments": {"order": "8"}}
    run = await run_turn(durable.AgentHooks(shop.agent), "7 is broken", signals={"approval-1": yes, "external-2": "x"})
    assert run.final_text == "You get 40 for 8 x"


async def test_a_turn_that_waits_for_an_approval_is_suspended():
    run = await run_turn(durable.AgentHooks(shops.Shop().agent), "7 is broken")
    assert run.awaiting == "approval-1"
    assert [event.type for event in run.events][-2:] == ["tool.call.deferred", "session.run.suspended"]


async def test_a_cancel_closes_the_models_stream_and_leaves_its_usage_unknown():
    talks = shops.Talks(words=200)
    run = await run_turn(durable.AgentHooks(talks.agent), "count", cancel_after=5)
    assert run.status == "cancelled"
    assert talks.closed
    assert run.model_calls == [(1, ModelCall("m"))]
    assert [(row.model_calls, row.tokens_in, row.tokens_out) for row in run.rows] == [(1, None, None)]


async def test_an_error_of_the_model_fails_the_turn():
    async def model(messages, _info):
        if messages:
            raise ai.ModelHTTPError(503, "m")
        yield ""

    run = await run_turn(durable.AgentHooks(ai.Agent(functions.FunctionModel(stream_function=model))), "hi")
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.code == "producer_error"
    assert run.model_calls == []


async def test_a_structured_output_is_json():
    from pydantic import BaseModel

    class Weather(BaseModel):
        city: str
        degrees: int

    agent = ai.Agent(models.TestModel(custom_output_args={"city": "Oslo", "degrees": 3}), output_type=Weather)
    run = await run_turn(durable.AgentHooks(agent), "hi")
    assert run.final_text == '{"city":"Oslo","degrees":3}'


async def test_the_model_gets_the_history_and_the_parts_of_the_message():
    shop = shops.Shop()
    image, file = "https://example.com/a.png", "data:application/pdf;base64,AAAA"
    message: list[dict[str, Any]] = [
        {"type": "text", "text": "Look."},
        {"type": "image_url", "image_url": {"url": image}},
        {"type": "input_file", "input_file": {"url": file}},
    ]
    await run_turn(durable.AgentHooks(shop.agent), message, history=[("Hello", "Hi!")], signals=YES)
    prompts = [part for one in shop.seen if isinstance(one, ai.ModelRequest) for part in one.parts]
    said = [part.content for part in prompts if isinstance(part, ai.UserPromptPart)]
    assert said == ["Hello", ["Look.", ai.ImageUrl(image), ai.BinaryContent(b"\0\0\0", media_type="application/pdf")]]
    assert shop.seen[1].parts[0].content == "Hi!"


async def test_a_producer_may_run_several_agents_in_one_turn():
    class Two(ChatTurnHooks):
        async def produce(self, turn: Turn):
            for name in ("first", "second"):
                agent = ai.Agent(models.TestModel(custom_output_text=f"{name} {turn.message}"), name=name)
                async for event in durable.run_agent(agent, turn, prompt="go"):
                    yield event

    report = await crash_at_each_write(Two(), "one", modes=["before"])
    assert report.problems == []
    assert report.undisturbed.final_text == "second one"
    assert report.model_calls == 3


async def test_the_model_may_be_given_with_the_hooks():
    agent = ai.Agent("test", name="shop")
    run = await run_turn(durable.AgentHooks(agent, model=models.TestModel(custom_output_text="Hello!")), "hi")
    assert run.final_text == "Hello!"
    assert [call.model for _, call in run.model_calls] == ["test"]


async def test_tools_of_one_answer_keep_their_order_whichever_is_slower():
    agent = ai.Agent(models.TestModel(), name="two")

    @agent.tool_plain
    async def first() -> str:
        for _ in range(20):
            await asyncio.sleep(0)
        return "1"

    @agent.tool_plain
    async def second() -> str:
        return "2"

    report = await crash_at_each_write(durable.AgentHooks(agent), "hi", modes=["before"])
    assert report.problems == []
    assert [step.intent.rpartition(":")[2] for step in report.undisturbed.steps[1:3]] == ["first", "second"]
    assert [data["result"] for data in data_of(report.undisturbed, "tool.result")] == ["1", "2"]


async def test_an_agent_inside_a_tool_is_a_part_of_its_step():
    inner = ai.Agent(models.TestModel(custom_output_text="inner"), name="inner")
    outer = ai.Agent(models.TestModel(), name="outer")

    @outer.tool_plain
    async def delegate() -> str:
        return (await inner.run("go")).output

    run = await run_turn(durable.AgentHooks(outer), "hi")
    assert run.final_text == '{"delegate":"inner"}'
    assert [step.kind for step in run.steps[:-1]] == ["llm", "tool", "llm"]


async def test_an_event_from_outside_is_a_signal():
    asked: list[str] = []
    agent = ai.Agent(models.TestModel(), name="asks")

    @agent.output_validator
    async def reviewed(output: str) -> str:
        event = await ai.external_events.wait_for_external_event("review", ask=asked.append)
        return f"{output}: {event}"

    run = await run_turn(durable.AgentHooks(agent), "hi", signals={"event-1": "well done"})
    assert run.final_text == "success (no tool calls): well done"
    assert asked == ["event-1"]
