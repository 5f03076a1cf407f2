"""One turn from claim to settle, in this process against a real Redis."""

import asyncio

import msgspec
import pytest

from tests.support.product import HOLD, Product, Scripted, text
from tests.support.turns import KEY, SESSION, claim, log_of, request, seqs_of, snapshot, types_of
from tests.support.waiting import wait_until
from turnwire import ChatTurnHooks
from turnwire.shared import keys
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import ModelCall, TurnError
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.usage import Usage
from turnwire.worker.attempt.outcome import BEHIND_MS, Again, Done, Parked
from turnwire.worker.attempt.run import FOREIGN_MS

RUN_ID = KEY.run_id
ANSWER = (text("Hel"), text("lo"))


async def error_of(store: TurnStore) -> TurnError:
    record = await store.record(KEY)
    assert record is not None
    assert record.error is not None
    return record.error


async def test_c1_c6_c7_a_turn_runs_to_its_end(store, runner_of):
    product = Product(*ANSWER, {"type": "tool.call", "data": {"name": "search"}})
    await store.submit(KEY, request("hi", user="u", metadata={"k": 1}))
    assert isinstance(await runner_of(product).run(RUN_ID), Done)
    log = await log_of(store)
    assert types_of(log) == [
        "session.run.started", "message.part.updated", "message.part.updated", "tool.call", "result",
        "session.run.completed",
    ]  # fmt: skip
    assert seqs_of(log) == list(range(6))
    assert log[1][2] == ANSWER[0]["data"]
    assert log[4][2] == {"finalText": "Hello"}
    assert log[5][2] == {"sessionId": "demo", "replayed": False, "persisted": True}
    record = await store.record(KEY)
    assert (record.status, record.final_text, record.persist) == (TurnState.COMPLETED, "HELLO", "done")
    assert product.calls == ["transform_final_text", "persist_assistant_message", "on_turn_complete", "trace_flush"]
    [turn] = product.turns
    assert product.persisted == {turn.message_id: "HELLO"}
    assert (turn.run_id, turn.message, turn.user_id, turn.metadata, turn.attempt) == (RUN_ID, "hi", "u", {"k": 1}, 1)


async def test_c10_the_side_channel_sees_what_the_client_sees(store, runner_of):
    product = Product(*ANSWER)
    await store.submit(KEY, request())
    await runner_of(product).run(RUN_ID)
    assert product.seen == types_of(await log_of(store))


async def test_c11_the_live_stream_keeps_the_text_that_was_not_transformed(store, runner_of):
    product = Product(*ANSWER, {"type": "result", "data": {"finalText": "Hello", "citations": [1]}})
    await store.submit(KEY, request())
    await runner_of(product).run(RUN_ID)
    log = await log_of(store)
    assert [data for _, event_type, data in log if event_type == "result"] == [{"finalText": "Hello", "citations": [1]}]
    assert (await store.record(KEY)).final_text == "HELLO"


async def test_a_product_without_persistence_completes(store, runner_of):
    await store.submit(KEY, request())
    await runner_of(Scripted(*ANSWER)).run(RUN_ID)
    record = await store.record(KEY)
    assert (record.status, record.final_text, record.persist) == (TurnState.COMPLETED, "Hello", "none")


async def test_an_answer_without_events_is_an_empty_answer(store, runner_of):
    await store.submit(KEY, request())
    await runner_of(Scripted()).run(RUN_ID)
    assert types_of(await log_of(store)) == ["session.run.started", "result", "session.run.completed"]


async def test_produce_may_return_a_producer(store, runner_of):
    class Producer:
        def __init__(self):
            self.stream = self._stream()

        async def _stream(self):
            yield text("streamed")

        def final_text(self):
            return "said"

    class Returning(ChatTurnHooks):
        async def produce(self, turn):
            return Producer()

    await store.submit(KEY, request())
    await runner_of(Returning()).run(RUN_ID)
    assert (await store.record(KEY)).final_text == "said"


async def test_usage_is_kept_with_the_turn(store, runner_of):
    class Counting(Scripted):
        async def produce(self, turn):
            turn.usage.add(ModelCall("m", tokens_in=3, tokens_out=None))
            yield text("x")

    await store.submit(KEY, request())
    await runner_of(Counting()).run(RUN_ID)
    assert (await store.record(KEY)).usage == Usage(
        1, 3, None, None, model_called="m", cached_tokens=None, reasoning_tokens=None
    )


async def test_a_turn_knows_the_completed_turns_before_it(store, runner_of):
    runner = runner_of(Scripted(text("a")))
    await store.submit(KEY, request("q0"))
    await runner.run(RUN_ID)
    broken = runner_of(Scripted(RuntimeError("no")))
    await store.submit(SESSION.turn(1), request("q1"))
    await broken.run(SESSION.turn(1).run_id)
    product = Scripted(text("b"))
    await store.submit(SESSION.turn(2), request("q2"))
    await runner_of(product).run(SESSION.turn(2).run_id)
    assert product.turns[0].history() == [{"role": "user", "content": "q0"}, {"role": "assistant", "content": "a"}]


async def test_c9_a_producer_that_raises_fails_the_turn_and_shows_what_came_before(store, runner_of):
    await store.submit(KEY, request())
    assert isinstance(await runner_of(Product(text("half"), RuntimeError("no model"))).run(RUN_ID), Done)
    log = await log_of(store)
    assert types_of(log) == ["session.run.started", "message.part.updated", "error", "session.run.failed"]
    assert log[2][2]["code"] == log[3][2]["code"] == "producer_error"
    record = await store.record(KEY)
    assert (record.status, record.error.code) == (TurnState.FAILED, "producer_error")


async def test_a_producer_may_fail_the_turn_in_its_own_words(store, runner_of):
    from turnwire import TurnFailure

    await store.submit(KEY, request())
    await runner_of(Scripted(TurnFailure("busy", code="my_code", retryable=True))).run(RUN_ID)
    error = (await store.record(KEY)).error
    assert (error.code, error.message, error.retryable) == ("my_code", "busy", True)


async def test_c3_a_failed_turn_that_is_asked_again_runs_from_the_top(store, runner_of):
    product = Scripted(text("first"), RuntimeError("no"))
    await store.submit(KEY, request())
    await runner_of(product).run(RUN_ID)
    product.script = (text("second"),)
    await store.submit(KEY, request())
    await runner_of(product).run(RUN_ID)
    record = await store.record(KEY)
    assert (record.status, record.final_text, record.attempt, len(product.turns)) == (
        TurnState.COMPLETED,
        "second",
        2,
        2,
    )
    assert "first" not in str(await log_of(store))


@pytest.mark.parametrize("event", [{"type": "x", "data": {"o": object()}}, "no event"])
async def test_w17_an_event_that_cannot_be_written_fails_the_turn(store, runner_of, event):
    await store.submit(KEY, request())
    await runner_of(Scripted(text("half"), event, text("never"))).run(RUN_ID)
    assert (await store.record(KEY)).error.code == "invalid_event"
    assert types_of(await log_of(store))[-2:] == ["error", "session.run.failed"]


async def test_c84_an_in_band_error_keeps_the_text_and_ends_in_one_failed_event(store, runner_of):
    product = Product(text("half"), {"type": "error", "data": {"message": "limit", "code": "limit"}})
    await store.submit(KEY, request())
    await runner_of(product).run(RUN_ID)
    log = await log_of(store)
    assert types_of(log) == ["session.run.started", "message.part.updated", "error", "session.run.failed"]
    assert log[-1][2] == {"sessionId": "demo", "message": "limit", "code": "limit"}
    record = await store.record(KEY)
    assert (record.status, record.final_text, record.persist) == (TurnState.FAILED, "HALF", "done")
    assert list(product.persisted.values()) == ["HALF"]
    assert "on_turn_complete" not in product.calls


async def test_c82_a_persist_that_goes_on_failing_completes_as_not_persisted(store, runner_of):
    await store.submit(KEY, request())
    await runner_of(Product(*ANSWER, persist_assistant_message=99)).run(RUN_ID)
    record = await store.record(KEY)
    assert (record.status, record.persist, record.final_text) == (TurnState.COMPLETED, "pending", "HELLO")
    assert (await log_of(store))[-1][2]["persisted"] is False


async def test_c72_a_broken_trace_flush_fails_nothing(store, runner_of):
    await store.submit(KEY, request())
    await runner_of(Product(*ANSWER, trace_flush=1, on_turn_complete=1)).run(RUN_ID)
    assert (await store.record(KEY)).status is TurnState.COMPLETED


async def test_a_turn_that_takes_too_long_fails_and_its_producer_is_closed(redis, settings, runner_of):
    store = TurnStore(redis, msgspec.structs.replace(settings, turn_timeout_s=0.2, lease_ms=100))
    product = Scripted(text("half"), HOLD)
    await store.submit(KEY, request())
    assert isinstance(await runner_of(product, store=store).run(RUN_ID), Done)
    error = await error_of(store)
    assert (error.code, error.retryable) == ("timeout", True)
    assert product.closed == 1


async def test_a_producers_own_timeout_is_an_error_of_the_producer(store, runner_of):
    await store.submit(KEY, request())
    await runner_of(Scripted(TimeoutError("database"))).run(RUN_ID)
    assert (await store.record(KEY)).error.code == "producer_error"


async def test_a_producer_that_is_cancelled_by_its_own_doing_fails_the_turn(store, runner_of):
    """A cancelled subtask, awaited, raises CancelledError in the producer: nobody asked the attempt to stop, so
    giving the turn back would run it again and again, uncounted."""
    await store.submit(KEY, request())
    assert isinstance(await runner_of(Scripted(text("half"), asyncio.CancelledError())).run(RUN_ID), Done)
    assert (await store.record(KEY)).status is TurnState.FAILED


async def test_a_log_that_is_full_ends_the_turn_with_its_terminal_event(redis, settings, runner_of):
    store = TurnStore(redis, msgspec.structs.replace(settings, max_log_events=5))
    await store.submit(KEY, request())
    await runner_of(Scripted(*[text("a")] * 10), store=store).run(RUN_ID)
    assert (await error_of(store)).code == "log_too_large"
    assert types_of(await log_of(store))[-2:] == ["error", "session.run.failed"]


async def test_a_turn_that_another_worker_runs_is_looked_at_again_later(store, redis, runner_of, settings):
    product = Scripted()
    await store.submit(KEY, request())
    await claim(store, worker="host/9/cccccc")
    before = await snapshot(redis)
    outcome = await runner_of(product).run(RUN_ID)
    assert isinstance(outcome, Again)
    assert 0 < outcome.delay_ms <= settings.lease_ms + 1
    assert product.turns == []
    assert await snapshot(redis) == before


async def test_a_turn_whose_time_has_not_come_is_parked_and_costs_nothing(store, redis, runner_of):
    product = Scripted()
    await store.submit(KEY, request())
    await store.submit(SESSION.turn(1), request("next"))
    assert await runner_of(product).run(SESSION.turn(1).run_id) == Parked(BEHIND_MS)
    assert product.turns == []
    assert await redis.zcard(keys.QUEUE) == 0


async def test_the_end_of_a_turn_wakes_the_next_one(store, redis, runner_of):
    await store.submit(KEY, request())
    await store.submit(SESSION.turn(1), request("next"))
    await runner_of(Scripted()).run(RUN_ID)
    assert await redis.zrange(keys.QUEUE, 0, -1) == [SESSION.turn(1).run_id.encode()]


async def test_an_ended_turn_is_not_run_again(store, redis, runner_of):
    product = Scripted()
    await store.submit(KEY, request())
    await runner_of(product).run(RUN_ID)
    before = await snapshot(redis)
    assert isinstance(await runner_of(product).run(RUN_ID), Done)
    assert len(product.turns) == 1
    assert await snapshot(redis) == before


async def test_a_turn_that_is_not_there_is_done(runner_of):
    assert isinstance(await runner_of(Scripted()).run(RUN_ID), Done)


async def test_a_job_that_is_no_turn_of_ours_is_left_for_later(runner_of, caplog):
    assert await runner_of(Scripted()).run("somebody-elses-job") == Again(FOREIGN_MS)


async def test_two_attempts_at_once_run_the_turn_once(store, runner_of):
    product = Scripted(HOLD)
    await store.submit(KEY, request())
    first = asyncio.create_task(runner_of(product).run(RUN_ID))
    await wait_until(product.holding.is_set, "the producer to run")
    assert isinstance(await runner_of(product, worker="host/2/bbbbbb").run(RUN_ID), Again)
    product.gate.set()
    assert isinstance(await first, Done)
    assert len(product.turns) == 1
