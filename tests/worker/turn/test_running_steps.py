"""Steps that run beside something else: inside another step, and beside a signal."""

import asyncio

import pytest

from tests.support.agent import Agent
from tests.support.product import text
from tests.support.turns import KEY, OTHER_WORKER, request
from turnwire.shared.lifecycle import TurnState
from turnwire.worker.attempt.outcome import Done, Parked


async def run(store, runner_of, script):
    await store.submit(KEY, request())
    agent = Agent(script)
    await runner_of(agent).run(KEY.run_id)
    return agent, await store.record(KEY)


@pytest.mark.parametrize("how", ["awaited", "in a task", "in a thread", "a stream", "a signal", "a random number"])
async def test_a_step_inside_a_step_is_refused_the_first_time(store, runner_of, how):
    async def script(turn, agent):
        async def work():
            agent.ran.append("outer")
            match how:
                case "awaited":
                    await turn.step("inner", agent.does("inner"))
                case "in a task":
                    await asyncio.create_task(within())
                case "in a thread":
                    await asyncio.to_thread(turn.step, "inner", agent.does("inner"))
                case "a stream":
                    turn.stream("inner", agent.does("inner"))
                case "a signal":
                    await turn.signal("inner")
                case "a random number":
                    await turn.random()

        async def within():
            await turn.step("inner", agent.does("inner"))

        yield text("the answer")
        await turn.step("outer", work, retries=3, backoff_s=0)

    agent, record = await run(store, runner_of, script)
    assert (record.status, record.error.code) == (TurnState.FAILED, "nested_step")
    assert agent.ran == ["outer"]


async def test_a_step_inside_the_work_of_a_stream_is_refused(store, runner_of):
    async def script(turn, agent):
        async def answer():
            yield text("a")
            await turn.step("inner", agent.does("inner"))

        async for event in turn.stream("answer", answer):
            yield event

    agent, record = await run(store, runner_of, script)
    assert (record.status, record.error.code) == (TurnState.FAILED, "nested_step")
    assert agent.ran == []


async def test_the_loop_that_reads_a_stream_may_run_steps(store, runner_of):
    async def script(turn, agent):
        async def answer():
            yield text("a")
            yield text("b")

        async for event in turn.stream("answer", answer):
            await turn.step("between", agent.does("between"))
            yield event
        await turn.step("after", agent.does("after"))

    agent, record = await run(store, runner_of, script)
    assert record.status is TurnState.COMPLETED
    assert agent.ran == ["between", "between", "after"]


async def test_a_step_after_a_refused_one_is_not_inside_it(store, runner_of):
    async def script(turn, agent):
        async def work():
            await turn.step("inner", agent.does("inner"))

        with pytest.raises(Exception, match="inside another step"):
            await turn.step("outer", work)
        await turn.step("after", agent.does("after"))
        yield text("x")

    agent, record = await run(store, runner_of, script)
    assert record.status is TurnState.COMPLETED
    assert agent.ran == ["after"]


async def test_a_step_that_runs_beside_a_signal_ends_before_the_turn_is_suspended(store, runner_of):
    charging, may_end = asyncio.Event(), asyncio.Event()

    async def script(turn, agent):
        async def charge():
            agent.ran.append("charge")
            charging.set()
            await may_end.wait()
            return "charged"

        done = await asyncio.gather(turn.step("charge", charge), turn.signal("approval"))
        yield text(str(done))

    await store.submit(KEY, request())
    agent = Agent(script)
    first = asyncio.create_task(runner_of(agent).run(KEY.run_id))
    await charging.wait()
    assert (await store.record(KEY)).status is TurnState.RUNNING
    may_end.set()
    assert isinstance(await first, Parked)
    assert (await store.record(KEY)).status is TurnState.SUSPENDED
    await store.signal(KEY, "approval", b"1")
    assert isinstance(await runner_of(agent, OTHER_WORKER).run(KEY.run_id), Done)
    assert agent.ran == ["charge"]
    assert (await store.record(KEY)).final_text == "['charged', 1]"


async def test_a_stream_that_was_left_does_not_keep_a_turn_from_being_suspended(store, runner_of):
    async def script(turn, agent):
        async def answer():
            yield text("a")
            yield text("b")

        async for event in turn.stream("answer", answer):
            yield event
            break
        await turn.signal("approval")

    _, record = await run(store, runner_of, script)
    assert record.status is TurnState.SUSPENDED


async def test_a_step_whose_result_is_not_json_is_not_retried(store, runner_of):
    async def script(turn, agent):
        await turn.step("pay", agent.does("pay", {"receipt": object()}), retries=3, backoff_s=0)
        yield text("x")

    agent, record = await run(store, runner_of, script)
    assert record.error.code == "step_not_json"
    assert agent.ran == ["pay"]
