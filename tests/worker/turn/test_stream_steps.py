"""turn.stream: a step whose result is its events. A model that was asked to the end is never asked again."""

import asyncio

import msgspec
import pytest

from tests.support.agent import Agent, Model, answering
from tests.support.product import text
from tests.support.turns import KEY, OTHER_WORKER, log_of, request, seqs_of, types_of
from tests.support.waiting import wait_until
from turnwire import ChatStreamEvent
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import ModelCall
from turnwire.worker.attempt.attempt import Stop
from turnwire.worker.attempt.outcome import Done


def deltas(log):
    return [data["delta"] for _, event_type, data in log if event_type == "message.part.updated"]


async def test_a_stream_that_has_ended_is_never_asked_for_again(store, twice):
    model = Model(text("one "), {"type": "tool.call", "data": {"args": (1, 2)}}, text("two"))
    first, second = await twice(answering(model))
    assert (first.status, second.status) == (TurnState.FAILED, TurnState.COMPLETED)
    assert second.final_text == "one two"
    assert (model.asked, model.closed) == (1, 1)
    log = await log_of(store)
    assert deltas(log) == ["one ", "two"]
    assert seqs_of(log) == list(range(len(log)))
    assert second.attempt == 2  # nothing diverged
    stream = (await store.steps(KEY))[0]
    assert (stream.intent, stream.kind, stream.status, stream.attempts) == ("answer", "llm", "completed", 1)
    assert stream.cursor == log[3][0]  # it covers its last event


async def test_every_attempt_sees_the_same_events_whatever_was_yielded(twice):
    seen = []

    async def script(turn, agent):
        seen.append([event async for event in turn.stream("answer", model)])
        yield text("x")
        await turn.step("after", agent.does("after", fails=1))

    model = Model({"type": "a", "data": {"pair": (1, 2), "n": 1.0, 3: None}}, ChatStreamEvent("b"), {"type": "c"})
    await twice(Agent(script))
    assert seen[0] == seen[1]
    assert seen[0] == [
        ChatStreamEvent("a", {"pair": [1, 2], "n": 1.0, "3": None}), ChatStreamEvent("b"), ChatStreamEvent("c"),
    ]  # fmt: skip


async def test_an_answer_that_was_paid_for_survives_a_divergence(store, twice):
    """The log is rewound to before its events; they come back from the checkpoint."""
    model = Model(text("paid "), text("for"))

    async def script(turn, agent):
        yield text(f"attempt {turn.attempt}: ")
        async for event in turn.stream("answer", model):
            yield event
        await turn.step("after", agent.does("after", fails=1))

    _, second = await twice(Agent(script))
    assert second.final_text == "attempt 2: paid for"
    assert model.asked == 1
    log = await log_of(store)
    assert deltas(log) == ["attempt 2: ", "paid ", "for"]
    assert seqs_of(log) == list(range(len(log)))


async def test_its_events_leave_as_they_come(store, runner_of):
    model = Model(text("first"), "hold")
    await store.submit(KEY, request())
    run = asyncio.create_task(runner_of(answering(model)).run(KEY.run_id))
    await model.holding.wait()

    async def arrived():
        return deltas(await log_of(store)) == ["first"]

    await wait_until(arrived, "the first event, while the model is still at work")
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert model.closed == 1


async def test_a_drain_in_the_middle_closes_the_model_and_keeps_nothing_of_the_stream(store, runner_of):
    model = Model(text("half"), calls={1: (text("half"), "hold"), 2: (text("whole"),)})
    agent = answering(model, fails=0)
    runner = runner_of(agent)
    await store.submit(KEY, request())
    run = asyncio.create_task(runner.run(KEY.run_id))
    await model.holding.wait()
    await runner.attempts[KEY.run_id].log.flush()
    runner.attempts[KEY.run_id].stop(Stop.DRAIN)
    assert (await run).delay_ms == 0
    assert model.closed == 1
    assert await store.steps(KEY) == {}
    assert isinstance(await runner_of(agent, OTHER_WORKER).run(KEY.run_id), Done)
    log = await log_of(store)
    assert deltas(log) == ["whole"]
    assert seqs_of(log) == list(range(len(log)))


@pytest.mark.parametrize("leave", ["break", "raise", "aclose", "held"])
async def test_a_stream_that_is_left_early_is_closed_before_the_turn_ends_and_not_kept(store, runner_of, leave):
    model = Model(text("one "), text("two "), text("three"))
    kept = []
    closed_by_then = []

    async def script(turn, agent):
        stream = turn.stream("answer", model)
        if leave == "held":
            kept.append(stream)  # somebody holds on to it: only an explicit close ends it
        async for event in stream:
            yield event
            if leave == "raise":
                raise RuntimeError("left")
            if leave == "aclose":
                await stream.aclose()
                closed_by_then.append(model.closed)
            break
        await turn.step("after", agent.does("after"))

    class Watched(Agent):
        async def trace_flush(self, turn):
            closed_by_then.append(model.closed)

    await store.submit(KEY, request())
    await runner_of(Watched(script)).run(KEY.run_id)
    assert set(closed_by_then) == {1}
    assert 0 not in await store.steps(KEY)
    assert deltas(await log_of(store)) == ["one "]


async def test_a_stream_that_fails_keeps_its_error_and_is_asked_for_again(store, twice):
    model = Model(calls={1: (text("half"), OSError("cut")), 2: (text("whole"),)})
    first, second = await twice(answering(model, fails=0))
    assert (first.status, first.error.message) == (TurnState.FAILED, "the product failed (OSError)")
    assert second.final_text == "whole"
    stream = (await store.steps(KEY))[0]
    assert (stream.status, stream.attempts, stream.error) == ("completed", 2, None)
    assert deltas(await log_of(store)) == ["whole"]


async def test_the_error_of_a_failed_stream_is_there_to_be_read(store, runner_of):
    await store.submit(KEY, request())
    await runner_of(answering(Model(text("half"), OSError("cut")), retries=3, backoff_s=0)).run(KEY.run_id)
    stream = (await store.steps(KEY))[0]
    assert (stream.status, stream.attempts) == ("failed", 1)  # what was passed on cannot be taken back: no retry
    assert stream.error == {"type": "OSError", "message": "cut"}
    assert stream.result == msgspec.Raw(b"null")


async def test_it_is_retried_in_place_before_its_first_event(store, runner_of):
    model = Model(OSError("busy"), calls={3: (text("at last"),)})
    await store.submit(KEY, request())
    await runner_of(answering(model, fails=0, retries=2, backoff_s=0)).run(KEY.run_id)
    assert (await store.record(KEY)).final_text == "at last"
    assert (model.asked, model.closed) == (3, 3)
    assert (await store.steps(KEY))[0].attempts == 3


@pytest.mark.parametrize("event_type", ["error", "session.run.failed"])
async def test_a_stream_that_says_it_failed_is_asked_for_again(twice, event_type):
    """If it were kept, asking a turn again whose model was overloaded could never help."""
    error = {"type": event_type, "data": {"message": "overloaded", "code": "overloaded", "retryable": True}}
    model = Model(calls={1: (text("half"), error), 2: (text("whole"),)})

    async def script(turn, agent):
        async for event in turn.stream("answer", model):
            yield event

    first, second = await twice(Agent(script))
    assert (first.status, first.error.code) == (TurnState.FAILED, "overloaded")
    assert (second.status, second.final_text, model.asked) == (TurnState.COMPLETED, "whole", 2)


async def test_work_may_be_whatever_produce_may_return(store, runner_of):
    class Producer:
        def __init__(self, delta):
            self.stream = Model(text(delta))()

        def final_text(self):
            return "not asked for"

    async def opened():
        return Model(text("b"))()

    async def script(turn, agent):
        for intent, work in [("a", Model(text("a"))), ("b", opened), ("c", lambda: Producer("c"))]:
            async for event in turn.stream(intent, work):
                yield event

    await store.submit(KEY, request())
    await runner_of(Agent(script)).run(KEY.run_id)
    assert (await store.record(KEY)).final_text == "abc"


async def test_an_empty_stream_is_a_result_too(twice):
    model = Model()
    _, record = await twice(answering(model))
    assert (record.status, record.final_text, model.asked) == (TurnState.COMPLETED, "", 1)


async def test_usage_of_a_stream_survives_a_crash(twice):
    async def script(turn, agent):
        async def ask():
            yield text("x")
            turn.usage.add(ModelCall("m", 10, 5))

        async for event in turn.stream("answer", ask):
            yield event
        await turn.step("after", agent.does("after", fails=1))

    _, record = await twice(Agent(script))
    assert (record.usage.model_calls, record.usage.tokens_in, record.usage.tokens_out) == (1, 10, 5)


async def test_its_checkpoint_is_there_before_the_line_after_the_loop(store, runner_of):
    found = []

    async def script(turn, agent):
        async for event in turn.stream("answer", Model(text("x"))):
            yield event
        found.append((await store.steps(KEY))[0].status)
        found.append(types_of(await log_of(store))[-1])

    await store.submit(KEY, request())
    await runner_of(Agent(script)).run(KEY.run_id)
    assert found == ["completed", "message.part.updated"]
