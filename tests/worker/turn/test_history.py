"""turn.history(): the earlier turns of a session, the same on every attempt once a step is stored."""

import msgspec
import pytest

from tests.support.agent import Agent
from tests.support.product import Scripted, text
from tests.support.turns import OTHER_WORKER, SESSION, claim, lose_lease, request
from turnwire.shared.events import RUN_COMPLETED, encode_event
from turnwire.shared.lifecycle import TurnState

FIRST, SECOND = SESSION.turn(0), SESSION.turn(1)
NAME = [{"role": "user", "content": "my name is A."}, {"role": "assistant", "content": "Hello A."}]


async def settle(store, claimed, answer):
    completed = [encode_event(RUN_COMPLETED, {})]
    await store.settle(claimed, TurnState.COMPLETED, claimed.next_seq, completed, {"final_text": answer})


async def say_first(store):
    await store.submit(FIRST, request("my name is A."))
    await settle(store, await claim(store, FIRST), "Hello A.")


class Planner(Agent):
    """Plans from its history, waits for an approval, and says what it has seen on each attempt."""

    def __init__(self):
        super().__init__(self.plan)
        self.histories = []

    async def plan(self, turn, agent):
        self.histories.append(turn.history())
        plan = await turn.step("plan", agent.does("plan", "a plan"), input=turn.history())
        await turn.signal("approval")
        yield text(plan)


async def approve(store, runner):
    await store.signal(SECOND, "approval", b"1")
    await runner.run(SECOND.run_id)
    return await store.record(SECOND)


async def test_a_turn_that_waited_longer_than_the_retention_goes_on_with_the_same_history(store, redis, runner_of):
    await say_first(store)
    agent = Planner()
    await store.submit(SECOND, request("second"))
    await runner_of(agent).run(SECOND.run_id)
    await redis.delete(*FIRST.all_keys()[3:])
    record = await approve(store, runner_of(agent, OTHER_WORKER))
    assert (record.status, record.final_text) == (TurnState.COMPLETED, "a plan")
    assert agent.histories == [NAME, NAME]
    assert await redis.hexists(SECOND.steps, "history") == 0, "a completed turn keeps no copy"


async def test_an_earlier_turn_that_ends_meanwhile_is_not_in_the_history_of_a_later_attempt(store, runner_of):
    await store.submit(FIRST, request("my name is A."))
    first = await claim(store, FIRST)
    agent = Planner()
    await store.submit(SECOND, request("second", on_busy="concurrent"))
    await runner_of(agent).run(SECOND.run_id)
    await settle(store, first, "Hello A.")
    assert (await approve(store, runner_of(agent, OTHER_WORKER))).status is TurnState.COMPLETED
    assert agent.histories == [[], []]


async def test_a_turn_that_only_waits_keeps_its_history_too(store, redis, runner_of):
    seen = []

    async def script(turn, agent):
        await turn.signal("approval")
        seen.append(turn.history())
        yield text("x")

    await say_first(store)
    await store.submit(SECOND, request("second"))
    await runner_of(Agent(script)).run(SECOND.run_id)
    await redis.delete(*FIRST.all_keys()[3:])
    await approve(store, runner_of(Agent(script), OTHER_WORKER))
    assert seen == [NAME]


async def test_a_failed_turn_that_is_asked_again_has_the_history_that_its_steps_were_made_from(store, redis, runner_of):
    histories = []

    async def script(turn, agent):
        histories.append(turn.history())
        yield text(await turn.step("plan", agent.does("plan", "a plan"), input=turn.history()))
        await turn.step("act", agent.does("act", fails=1))

    await say_first(store)
    agent = Agent(script)
    await store.submit(SECOND, request("second"))
    await runner_of(agent).run(SECOND.run_id)
    assert (await store.record(SECOND)).status is TurnState.FAILED
    assert await redis.pttl(SECOND.steps) > 0
    await redis.delete(*FIRST.all_keys()[3:])
    await store.submit(SECOND, request("second"))
    await runner_of(agent).run(SECOND.run_id)
    assert (await store.record(SECOND)).status is TurnState.COMPLETED
    assert histories == [NAME, NAME]


async def test_a_crash_after_the_first_step_changes_nothing(store, redis, runner_of):
    await say_first(store)
    agent = Planner()
    await store.submit(SECOND, request("second"))
    await runner_of(agent).run(SECOND.run_id)
    await store.signal(SECOND, "approval", b"1")
    await claim(store, SECOND)  # by a worker that dies
    await lose_lease(store, SECOND)
    await redis.delete(*FIRST.all_keys()[3:])
    await runner_of(agent, OTHER_WORKER).run(SECOND.run_id)
    assert (await store.record(SECOND)).status is TurnState.COMPLETED
    assert agent.histories == [NAME, NAME]


@pytest.mark.parametrize(("max_bytes", "turns"), [(4, 1), (7, 1), (8, 2), (100, 3)])
async def test_the_oldest_turns_are_left_out_of_a_long_history(store, runner_of, max_bytes, turns):
    for index in range(3):
        await store.submit(SESSION.turn(index), request(f"q{index}"))
        await settle(store, await claim(store, SESSION.turn(index)), f"a{index}")
    small = type(store)(store.redis, msgspec.structs.replace(store.settings, history_bytes=max_bytes))
    product = Scripted(text("x"))
    await store.submit(SESSION.turn(3), request("last"))
    await runner_of(product, store=small).run(SESSION.turn(3).run_id)
    expected = [said for index in range(3 - turns, 3) for said in (f"q{index}", f"a{index}")]
    assert [message["content"] for message in product.turns[0].history()] == expected


@pytest.mark.parametrize("empty", ["", " \n"])
async def test_a_turn_whose_answer_is_empty_is_left_out_of_the_history(store, runner_of, empty):
    """Many model servers refuse an empty message, so each later turn of the session would fail."""
    await say_first(store)
    await store.submit(SECOND, request("think, and say nothing"))
    await settle(store, await claim(store, SECOND), empty)
    product = Scripted(text("x"))
    await store.submit(SESSION.turn(2), request("last"))
    await runner_of(product).run(SESSION.turn(2).run_id)
    assert product.turns[0].history() == NAME
