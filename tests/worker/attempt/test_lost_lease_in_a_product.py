"""A lost lease, met in a step, ends the product's code. It is a cancellation there, which no `except` swallows."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.agent import Agent
from tests.support.turns import KEY, OTHER_WORKER, lose_lease, request, snapshot, take_over
from turnwire.shared.errors import TurnFailure
from turnwire.worker.attempt.outcome import Again

WAYS = {
    "step": lambda turn, agent: turn.step("late", agent.does("late")),
    "signal": lambda turn, _: turn.signal("approval"),
    "now": lambda turn, _: turn.now(),
}


class LosingAgent(Agent):
    """An agent whose script can lose the lease, and keeps the tasks that it starts."""

    lose: Callable[[], Awaitable[None]]
    steps: list[asyncio.Task[Any]]
    stray: asyncio.Task[Any]


async def run_until_lost(store, runner_of, settings, script) -> LosingAgent:
    """Run a turn whose script calls `agent.lose()`. It must leave everything as the next attempt has it."""
    before = {}

    async def lose() -> None:
        await take_over(store)
        before.update(await snapshot(store.redis))

    agent = LosingAgent(script)
    agent.lose = lose
    await store.submit(KEY, request())
    assert await runner_of(agent).run(KEY.run_id) == Again(settings.lease_ms)
    assert await snapshot(store.redis) == before
    return agent


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("caught", [Exception, TurnFailure])
async def test_a_product_cannot_go_on_after_it(store, runner_of, settings, way, caught):
    async def script(turn, agent):
        await agent.lose()
        try:
            await WAYS[way](turn, agent)
        except caught:
            agent.ran.append("went on")
        agent.ran.append("asked the model")
        yield {"type": "x", "data": {}}

    agent = await run_until_lost(store, runner_of, settings, script)
    assert agent.ran == (["late"] if way == "step" else [])


async def test_it_ends_steps_that_run_side_by_side_in_tasks_of_the_product(store, runner_of, settings):
    async def script(turn, agent):
        await agent.lose()
        steps = [asyncio.create_task(turn.step(name, agent.does(name))) for name in ("one", "two")]
        agent.steps = steps
        try:
            await asyncio.gather(*steps, return_exceptions=True)
        finally:
            agent.ran.append("left")
        agent.ran.append("asked the model")
        yield {"type": "x", "data": {}}

    agent = await run_until_lost(store, runner_of, settings, script)
    assert sorted(agent.ran) == ["left", "one", "two"]
    assert [step.cancelled() for step in agent.steps] == [True, True]


async def test_it_ends_a_task_of_the_product_that_nobody_waits_for(store, runner_of, settings):
    async def script(turn, agent):
        await agent.lose()
        agent.stray = asyncio.create_task(turn.step("stray", agent.does("stray")))
        await asyncio.Event().wait()
        yield {"type": "x", "data": {}}

    agent = await run_until_lost(store, runner_of, settings, script)
    await asyncio.wait({agent.stray}, timeout=20)
    assert agent.stray.cancelled()


async def test_a_lease_that_only_lapsed_is_taken_back_by_the_step(store, runner_of):
    async def script(turn, agent):
        await lose_lease(store)
        yield {"type": "result", "data": {"finalText": await turn.step("late", agent.does("late", "kept"))}}

    agent = Agent(script)
    await store.submit(KEY, request())
    await runner_of(agent, OTHER_WORKER).run(KEY.run_id)
    assert (await store.record(KEY)).final_text == "kept"
