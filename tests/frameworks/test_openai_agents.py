"""An unchanged agent of the OpenAI Agents SDK as a turn."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.support.later import Later
from turnwire import ModelCall
from turnwire.testing import TIMES_OUT, Calls, TurnRun, crash_at_each_write, run_turn

sdk, durable, talker = Later("agents"), Later("turnwire.agents.openai_agents"), Later("tests.frameworks.talker")
YES = {"approval-1": {"ok": True}}


class Shop:
    """A desk that hands over to an expert, who looks up two orders, refunds one after an approval, and answers."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.expert_model = talker.Talker(self.expert_says, self.calls)
        self.desk_model = talker.Talker(lambda done: [talker.calling("transfer_to_expert")], self.calls)
        tools = [sdk.function_tool(self.look_up), sdk.function_tool(self.refund, needs_approval=True)]
        self.expert = sdk.Agent("expert", model=self.expert_model, tools=tools)
        self.agent = sdk.Agent("desk", model=self.desk_model, handoffs=[self.expert])

    def expert_says(self, done: dict[str, Any]) -> list[Any]:
        if "c-look_up" not in done:
            return [talker.message("One moment."), talker.calling("look_up", order="7")]
        if "c-refund" not in done:
            return [talker.calling("refund", order="7")]
        return [talker.message(f"You get {done['c-refund']}.")]

    async def look_up(self, order: str) -> str:
        self.calls.note("look_up")
        return f"{order} is broken"

    async def refund(self, order: str) -> str:
        self.calls.note("refund")
        return f"40 for {order}"


def data_of(run: TurnRun, event_type: str) -> list[dict[str, Any]]:
    return [event.data for event in run.events if event.type == event_type]


async def test_a_run_is_streamed_and_every_request_and_tool_is_a_step():
    shop = Shop()
    run = await run_turn(durable.AgentHooks(shop.agent), "7 is broken", history=[("Hello", "Hi!")], signals=YES)
    assert run.final_text == "You get 40 for 7."
    assert [step.intent for step in run.steps[:-1]] == [
        "model:m", "model:m", "tool:look_up", "model:m", "signal:approval-1", "tool:refund", "model:m",
    ]  # fmt: skip
    texts = [(data["part"]["id"], data["delta"]) for data in data_of(run, "message.part.updated")]
    assert texts[:2] == [("text-2-0-0", "One "), ("text-2-0-0", "moment. ")]
    assert data_of(run, "tool.call")[0] == {"id": "c-look_up", "name": "look_up", "arguments": '{"order": "7"}'}
    assert data_of(run, "tool.result")[0] == {"id": "c-look_up", "result": "7 is broken"}
    assert [(data["name"], data["signal"]) for data in data_of(run, "tool.call.deferred")] == [("refund", "approval-1")]
    assert [data["reason"] for data in data_of(run, "session.run.resumed")] == ["signal"]
    assert run.model_calls == [(call[0], ModelCall("m", 7, 2, "completed", 3, 1)) for call in run.model_calls]
    assert shop.calls.counts == {"model": 4, "look_up": 1, "refund": 1}
    assert [item["content"] for item in shop.desk_model.seen] == ["Hello", "Hi!", "7 is broken"]


async def test_a_crash_at_any_write_repeats_nothing_that_was_stored():
    shop = Shop()
    hooks = durable.AgentHooks(shop.agent)
    report = await crash_at_each_write(hooks, "7 is broken", calls=shop.calls, signals=YES, modes=["after"])
    assert report.problems == []
    undisturbed = {"model": 4, "look_up": 1, "refund": 1}
    assert {sum((run.calls - Counter(undisturbed)).values()) for run in report.runs} == {0, 1}
    checkpoints = [run for run in report.runs if "checkpoint." in run.fault]
    assert len(checkpoints) == 7  # of the steps above; the producer's own step comes with the end
    assert [run.fault for run in checkpoints if run.calls != undisturbed] == []


async def test_tools_of_one_answer_keep_their_order_whichever_is_slower():
    async def first() -> str:
        for _ in range(20):
            await asyncio.sleep(0)
        return "1"

    async def second() -> str:
        return "2"

    both = [talker.calling("first"), talker.calling("second")]
    model = talker.Talker(lambda done: [talker.message("Done.")] if done else both, Calls())
    agent = sdk.Agent("two", model=model, tools=[sdk.function_tool(first), sdk.function_tool(second)])
    report = await crash_at_each_write(durable.AgentHooks(agent), "hi", modes=["before"])
    assert report.problems == []
    assert [step.intent for step in report.undisturbed.steps[:-1]] == [
        "model:m",
        "tool:first",
        "tool:second",
        "model:m",
    ]
    assert [data["result"] for data in data_of(report.undisturbed, "tool.result")] == ["1", "2"]


@pytest.mark.parametrize("payload", [{"ok": False, "message": "Too late."}, TIMES_OUT])
async def test_a_tool_is_not_run_without_a_yes(payload):
    shop = Shop()
    run = await run_turn(
        durable.AgentHooks(shop.agent, signal_timeout_s=60), "7 is broken", signals={"approval-1": payload}
    )
    assert run.final_text in {"You get Too late..", "You get Nobody has answered in time.."}
    assert shop.calls.counts["refund"] == 0


async def test_a_cancel_closes_the_models_stream_and_leaves_its_usage_unknown():
    model = talker.Talker(lambda done: [talker.message("word " * 200)], Calls())
    run = await run_turn(durable.AgentHooks(sdk.Agent("a", model=model)), "hi", cancel_after=5)
    assert run.status == "cancelled"
    assert model.closed
    assert run.model_calls == [(1, ModelCall("m"))]
