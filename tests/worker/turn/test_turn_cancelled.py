"""turn.cancelled: true from the moment the attempt is being stopped, in any thread."""

import asyncio
import threading
import time

import msgspec
import pytest

from tests.support.agent import Agent
from tests.support.product import HOLD, Scripted, text
from tests.support.turns import KEY, lose_lease, renew, request, take_over
from tests.support.waiting import wait_until
from turnwire.worker.attempt.attempt import Stop
from turnwire.worker.attempt.outcome import Done

LIMIT_S = 3.0


class Threaded(Agent):
    """Its producer works in a thread that checks whether it should end."""

    def __init__(self):
        super().__init__(self.script_of_thread)
        self.started, self.ended = threading.Event(), threading.Event()
        self.before = None

    async def script_of_thread(self, turn, agent):
        def work():
            self.before = turn.cancelled
            self.started.set()
            give_up_at_s = time.monotonic() + LIMIT_S
            while not turn.cancelled:
                assert time.monotonic() < give_up_at_s
                self.ended.wait(0.001)
            self.ended.set()

        await turn.step("work", work)
        yield text("never")


@pytest.fixture
async def running(store, runner_of):
    """A turn whose thread works; its runner and its agent."""
    agent = Threaded()
    runner = runner_of(agent)
    await store.submit(KEY, request())
    run = asyncio.create_task(runner.run(KEY.run_id))
    await wait_until(agent.started.is_set, "the thread to work")
    return runner, agent, run


async def cancel(store, runner):
    await store.cancel(KEY)
    runner.look_if_cancelled(KEY.run_id)


async def drain(store, runner):
    runner.attempts[KEY.run_id].stop(Stop.DRAIN)


async def lose(store, runner):
    await take_over(store)
    await renew(runner, store)


@pytest.mark.parametrize("stop", [cancel, drain, lose])
async def test_a_thread_learns_that_its_attempt_is_being_stopped(store, running, stop):
    runner, agent, run = running
    await stop(store, runner)
    await run
    assert agent.before is False
    assert await asyncio.to_thread(agent.ended.wait, LIMIT_S)


async def test_a_thread_learns_that_its_turn_takes_too_long(store, runner_of):
    agent = Threaded()
    short = type(store)(store.redis, msgspec.structs.replace(store.settings, turn_timeout_s=0.1))
    await store.submit(KEY, request())
    assert isinstance(await runner_of(agent, store=short).run(KEY.run_id), Done)
    assert (await store.record(KEY)).error.code == "timeout"
    assert await asyncio.to_thread(agent.ended.wait, LIMIT_S)


async def test_it_is_true_when_the_cancellation_arrives_and_false_before(store, runner_of):
    class Looking(Scripted):
        async def produce(self, turn):
            self.looks = [turn.cancelled]
            try:
                async for event in super().produce(turn):
                    yield event
            finally:
                self.looks.append(turn.cancelled)

    product = Looking(HOLD)
    runner = runner_of(product)
    await store.submit(KEY, request())
    run = asyncio.create_task(runner.run(KEY.run_id))
    await product.holding.wait()
    await cancel(store, runner)
    await run
    assert product.looks == [False, True]


async def test_a_lease_that_lapsed_and_came_back_stops_nothing(store, running):
    runner, agent, run = running
    await lose_lease(store)
    await renew(runner, store)
    assert not agent.ended.is_set()
    await cancel(store, runner)
    await run


async def test_it_stays_false_in_a_turn_that_ends_by_itself(store, runner_of):
    product = Scripted(text("x"))
    await store.submit(KEY, request())
    await runner_of(product).run(KEY.run_id)
    assert product.turns[0].cancelled is False
