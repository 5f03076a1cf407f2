"""turn.stream: what it refuses, and by which name."""

import msgspec
import pytest

from tests.support.agent import Agent, Model, answering
from tests.support.product import text
from tests.support.turns import KEY, request
from turnwire.shared.lifecycle import TurnState


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        (lambda turn: turn.stream("other", Model()), "step_divergence"),
        (lambda turn: turn.stream("answer", Model(), input=2), "step_input_mismatch"),
        (lambda turn: turn.stream("turn", Model()), "step_divergence"),
    ],
)
async def test_another_stream_at_its_position_is_a_divergence(twice, changed, code):
    async def other(turn, agent):
        async for event in changed(turn):
            yield event

    _, record = await twice(answering(Model(text("x")), input=1), Agent(other))
    assert (record.status, record.error.code) == (TurnState.FAILED, code)


@pytest.mark.parametrize("result", [7, [7], {"type": "x"}])
async def test_a_step_that_was_no_stream_is_a_divergence(twice, result):
    async def script(turn, agent):
        await turn.step("answer", agent.does("answer", result))
        yield text("x")
        raise RuntimeError("no")

    _, record = await twice(Agent(script), answering(Model(text("x"))))
    assert record.error.code == "step_divergence"
    assert "not a stream before" in record.error.message


async def test_a_stream_that_is_not_asked_for_again_is_a_divergence(twice):
    async def other(turn, agent):
        yield text("x")

    _, record = await twice(answering(Model(text("x"))), Agent(other))
    assert record.error.code == "step_divergence"


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ("text", "invalid_event"),
        ({"type": "x", "data": {"a": object()}}, "invalid_event"),
        ({"type": "x", "data": {"a": "b" * 300_000}}, "event_too_large"),
    ],
)
async def test_what_is_no_event_fails_by_name_and_closes_the_model(store, runner_of, event, code):
    model = Model(text("one"), event, text("never"))
    await store.submit(KEY, request())
    await runner_of(answering(model)).run(KEY.run_id)
    assert (await store.record(KEY)).error.code == code
    assert model.closed == 1
    assert (await store.steps(KEY))[0].status == "failed"


@pytest.mark.parametrize("limit", [{"max_log_events": 20}, {"max_log_bytes": 2000}])
async def test_a_stream_has_no_more_events_than_a_log_even_if_nobody_passes_them_on(store, runner_of, limit):
    async def script(turn, agent):
        async for _ in turn.stream("answer", model):
            pass
        yield text("never")

    model = Model(*[text("a lot")] * 100)
    small = type(store)(store.redis, msgspec.structs.replace(store.settings, **limit))
    await store.submit(KEY, request())
    await runner_of(Agent(script), store=small).run(KEY.run_id)
    assert (await store.record(KEY)).error.code == "log_too_large"
    assert model.closed == 1


@pytest.mark.parametrize("work", [lambda: [text("x")], lambda: None])
async def test_work_that_is_no_async_iterator_fails_in_words(store, runner_of, work, caplog):
    await store.submit(KEY, request())
    await runner_of(answering(work)).run(KEY.run_id)
    error = (await store.record(KEY)).error
    assert error.code == "producer_error"
    assert "not an async iterator of events" in caplog.text
