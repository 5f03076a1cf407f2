"""Steps: what completed is never run again, and what a resumed producer yields again is never doubled."""

import asyncio
import uuid

import msgspec
import pytest

from tests.support.agent import Agent
from tests.support.product import text
from tests.support.turns import KEY, OTHER_WORKER, log_of, request, seqs_of, types_of
from tests.support.waiting import wait_until
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import ModelCall


async def steps_of(store):
    stored = await store.redis.hgetall(KEY.steps)
    records = {int(n): msgspec.json.decode(raw) for n, raw in stored.items() if n != b"history"}
    return [records[n] for n in sorted(records)]


async def test_c13_steps_run_in_order_and_are_listed(store, runner_of):
    async def script(turn, agent):
        plan = await turn.step("plan", agent.does("plan", ["a", "b"]), kind="logic", input={"q": turn.message})
        yield text(",".join(plan))
        await turn.step("search", agent.does("search", {"hits": 2}), kind="tool")

    await store.submit(KEY, request())
    agent = Agent(script)
    await runner_of(agent).run(KEY.run_id)
    assert agent.ran == ["plan", "search"]
    steps = await steps_of(store)
    assert [(step["index"], step["intent"], step["kind"], step["status"]) for step in steps] == [
        (0, "plan", "logic", "completed"), (1, "search", "tool", "completed"), (2, "turn", "llm", "completed"),
    ]  # fmt: skip
    assert (await store.record(KEY)).status is TurnState.COMPLETED


async def test_c14_a_completed_step_is_not_run_again(store, twice):
    async def script(turn, agent):
        found = await turn.step("search", agent.does("search", {"hits": 2}))
        yield text(f"{found['hits']} hits. ")
        await turn.step("ask", agent.does("ask", fails=1))
        yield text("Done.")

    agent = Agent(script)
    first, second = await twice(agent)
    assert (first.status, first.error.code) == (TurnState.FAILED, "producer_error")
    assert second.status is TurnState.COMPLETED
    assert agent.ran == ["search", "ask", "ask"]
    assert second.final_text == "2 hits. Done."
    log = await log_of(store)
    assert seqs_of(log) == list(range(len(log)))
    assert types_of(log).count("session.run.failed") == 0


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        (lambda turn, agent: turn.step("other", agent.does("other")), "step_divergence"),
        (lambda turn, agent: turn.step("search", agent.does("search"), input=2), "step_input_mismatch"),
        (lambda turn, agent: turn.step("search", agent.does("search")), "step_input_mismatch"),
        (lambda turn, agent: asyncio.sleep(0), "step_divergence"),
        (lambda turn, agent: turn.step("turn", agent.does("turn")), "step_divergence"),
    ],
)
async def test_c16_a_producer_that_takes_another_way_fails_the_turn(twice, changed, code):
    async def script(turn, agent):
        await turn.step("search", agent.does("search"), input=1)
        yield text("x")
        raise RuntimeError("no")

    async def other(turn, agent):
        await changed(turn, agent)
        yield text("x")

    second = Agent(other)
    _, record = await twice(Agent(script), second)
    assert (record.status, record.error.code) == (TurnState.FAILED, code)
    assert second.ran == []


@pytest.mark.parametrize("result", [object(), {1: 2}.keys(), float("nan").__repr__])
async def test_a_result_that_is_not_json_fails_the_turn_by_name(store, runner_of, result):
    async def script(turn, agent):
        await turn.step("search", agent.does("search", result))
        yield text("x")

    await store.submit(KEY, request())
    await runner_of(Agent(script)).run(KEY.run_id)
    error = (await store.record(KEY)).error
    assert error.code == "step_not_json"
    assert "'search'" in error.message


async def test_a_result_that_is_too_large_fails_the_turn_by_name_and_is_not_tried_again(store, runner_of):
    async def script(turn, agent):
        await turn.step("search", agent.does("search", "x" * 100), retries=3, backoff_s=0)
        yield text("x")

    small = type(store)(store.redis, msgspec.structs.replace(store.settings, max_step_bytes=101))
    agent = Agent(script)
    await store.submit(KEY, request())
    await runner_of(agent, store=small).run(KEY.run_id)
    error = (await store.record(KEY)).error
    assert error.code == "step_too_large"
    assert "'search' has 102 bytes; at most 101 are allowed" in error.message
    assert agent.ran == ["search"]


async def test_the_first_run_sees_the_result_as_a_later_one_does(store, runner_of):
    seen = []

    async def script(turn, agent):
        seen.append(await turn.step("pair", agent.does("pair", (1, 2))))
        yield text("x")

    await store.submit(KEY, request())
    await runner_of(Agent(script)).run(KEY.run_id)
    assert seen == [[1, 2]]


async def test_a_step_is_retried_in_place_and_keeps_its_last_error(store, runner_of):
    async def script(turn, agent):
        await turn.step("flaky", agent.does("flaky", 7, fails=2), retries=2, backoff_s=0)
        yield text("x")
        with pytest.raises(RuntimeError):
            await turn.step("hopeless", agent.does("hopeless", fails=9), retries=1, backoff_s=0)

    await store.submit(KEY, request())
    agent = Agent(script)
    await runner_of(agent).run(KEY.run_id)
    assert agent.ran == ["flaky"] * 3 + ["hopeless"] * 2
    flaky, hopeless, _ = await steps_of(store)
    assert (flaky["status"], flaky["attempts"], flaky["result"]) == ("completed", 3, 7)
    assert (hopeless["status"], hopeless["attempts"]) == ("failed", 2)
    assert hopeless["error"] == {"type": "RuntimeError", "message": "hopeless failed"}


async def test_a_step_that_takes_too_long_is_stopped(store, runner_of):
    stopped = []

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(True)

    async def script(turn, agent):
        with pytest.raises(TimeoutError):
            await turn.step("slow", forever, timeout=0.05)
        yield text("x")

    await store.submit(KEY, request())
    await runner_of(Agent(script)).run(KEY.run_id)
    assert stopped == [True]
    assert (await store.record(KEY)).status is TurnState.COMPLETED


async def test_steps_side_by_side_keep_their_positions(store, twice):
    """They end in another order than they begin, and the second attempt asks only for what is missing."""
    gate = asyncio.Event()

    async def script(turn, agent):
        async def slow():
            agent.ran.append("slow")
            await gate.wait()
            return "slow"

        async def quick():
            agent.ran.append("quick")
            gate.set()
            return "quick"

        answers = await asyncio.gather(turn.step("slow", slow), turn.step("quick", quick))
        yield text(",".join(answers))
        await turn.step("ask", agent.does("ask", fails=1))

    agent = Agent(script)
    _, record = await twice(agent)
    assert record.final_text == "slow,quick"
    assert agent.ran == ["slow", "quick", "ask", "ask"]
    assert [step["intent"] for step in await steps_of(store)] == ["slow", "quick", "ask", "turn"]


async def test_c22_now_uuid_and_random_are_the_same_on_every_attempt(twice):
    seen = []

    async def script(turn, agent):
        seen.append((await turn.now(), await turn.uuid(), await turn.random(), await turn.uuid()))
        yield text("x")
        await turn.step("ask", agent.does("ask", fails=1))

    await twice(Agent(script))
    assert seen[0] == seen[1]
    now, first, number, second = seen[0]
    assert now.tzinfo is not None
    assert isinstance(first, uuid.UUID)
    assert first != second
    assert 0 <= number < 1


async def test_usage_of_completed_steps_survives_a_crash(store, twice):
    async def script(turn, agent):
        async def ask_model():
            turn.usage.add(ModelCall("m", 10, 5))

        await turn.step("model", ask_model, kind="llm")
        yield text("x")
        await turn.step("ask", agent.does("ask", fails=1))

    _, record = await twice(Agent(script))
    assert (record.usage.model_calls, record.usage.tokens_in, record.usage.tokens_out) == (1, 10, 5)


async def test_a_worker_that_lost_its_lease_stores_no_step(store, runner_of):
    gate = asyncio.Event()

    async def script(turn, agent):
        agent.ran.append(f"attempt {turn.attempt}")
        if turn.attempt == 1:
            await gate.wait()
        await turn.step("search", agent.does("search", turn.attempt))
        yield text("x")

    agent = Agent(script)
    await store.submit(KEY, request())
    stale = asyncio.create_task(runner_of(agent).run(KEY.run_id))
    await wait_until(lambda: agent.ran == ["attempt 1"], "the first attempt runs")
    await store.redis.delete(KEY.lease)
    await runner_of(agent, OTHER_WORKER).run(KEY.run_id)
    before = await store.redis.dump(KEY.steps)
    gate.set()
    await stale
    assert await store.redis.dump(KEY.steps) == before
    assert (await steps_of(store))[0]["result"] == 2
