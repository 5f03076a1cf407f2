"""A turn that waited for a signal in vain is asked again: it waits for this signal anew."""

from tests.support.agent import Agent
from tests.support.product import text
from tests.support.turns import KEY, OTHER_WORKER, request
from turnwire import SignalTimeoutError
from turnwire.shared.lifecycle import TurnState
from turnwire.worker.attempt.outcome import Done


async def time_out(store, runner):
    await runner.run(KEY.run_id)
    await store.redis.hset(KEY.record, "deadline", 1)
    assert await store.expire(KEY) == 0
    return await runner.run(KEY.run_id)


async def test_it_waits_anew_and_goes_on_when_the_signal_comes(store, runner_of):
    async def script(turn, agent):
        yield text(await turn.step("plan", agent.does("plan", "a plan")))
        yield text(f" {await turn.signal('approval', timeout=3600)}")

    agent = Agent(script)
    await store.submit(KEY, request())
    assert isinstance(await time_out(store, runner_of(agent)), Done)
    record = await store.record(KEY)
    assert record.error.code == "signal_timeout"
    late = await store.signal(KEY, "approval", b"1")
    assert late.first is False, "it has stopped waiting"

    assert (await store.submit(KEY, request())).verdict == "reopened"
    await runner_of(agent, OTHER_WORKER).run(KEY.run_id)
    record = await store.record(KEY)
    assert (record.status, record.awaiting) == (TurnState.SUSPENDED, "approval")
    assert (await store.signal(KEY, "approval", b'"yes"')).enqueue
    await runner_of(agent, OTHER_WORKER).run(KEY.run_id)
    record = await store.record(KEY)
    assert (record.status, record.final_text) == (TurnState.COMPLETED, "a plan yes")
    assert agent.ran == ["plan"], "the other steps stand"


async def test_a_timeout_that_the_producer_went_on_from_stands(store, runner_of):
    async def script(turn, agent):
        try:
            await turn.signal("first", timeout=3600)
        except SignalTimeoutError:
            yield text(await turn.step("without", agent.does("without", "alone ")))
        yield text(await turn.signal("second", timeout=3600))

    agent = Agent(script)
    await store.submit(KEY, request())
    runner = runner_of(agent)
    await time_out(store, runner)
    await time_out(store, runner)
    assert (await store.record(KEY)).error.code == "signal_timeout"
    await store.submit(KEY, request())
    await runner.run(KEY.run_id)
    assert (await store.record(KEY)).awaiting == "second"
    assert set(await store.steps(KEY)) == {0, 1}
    assert await store.redis.hkeys(KEY.signals) == [b"first"]
