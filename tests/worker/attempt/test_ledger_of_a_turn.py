"""The worker counts an attempt's own calls, priced by their models, so that the sum of the rows is what was paid."""

import asyncio
from typing import Any

import pytest

from tests.support.agent import Agent
from tests.support.product import HOLD, Scripted, text
from tests.support.turns import KEY, OTHER_WORKER, SESSION, lose_lease, request
from turnwire.shared import keys
from turnwire.shared.ledger import LedgerRow, decode_row, usage_of
from turnwire.shared.model import ModelCall
from turnwire.shared.store.connect import connect
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.usage import Usage
from turnwire.worker.attempt.attempt import Stop
from turnwire.worker.attempt.outcome import Done
from turnwire.worker.attempt.run import TurnRunner
from turnwire.worker.products import Products
from turnwire.worker.turn.prices import Price, Prices

PRICES = Prices({"big": Price(10**9, 2 * 10**9), "small": Price(10**8, 10**8)}, "USD", "v7")
BIG, SMALL = ModelCall("big", 1000, 100), ModelCall("small", 10, 10)  # 1,200,000 and 2,000 billionths
BIG_NANOS, SMALL_NANOS = 1_200_000, 2_000
UNKNOWN: dict[str, Any] = {"cached_tokens": None, "reasoning_tokens": None}  # what these calls do not report
BROKEN = UNKNOWN | {"partial": True}


@pytest.fixture
async def run(store, queue):
    """Runs the turn with these hooks, once, in a worker that has a price table. Returns the end of the job."""
    tasks: list[asyncio.Task[Any]] = []

    def start(hooks, worker=OTHER_WORKER):
        runner = TurnRunner(store, queue, Products({None: hooks}), worker, PRICES)
        tasks.append(asyncio.create_task(runner.appender.run()))
        tasks.append(asyncio.create_task(runner.run(KEY.run_id)))
        return runner, tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Calling(Scripted):
    """Reports model calls among its events."""

    async def produce(self, turn):
        async for event in super().produce(turn):
            if isinstance(event, ModelCall):
                turn.usage.add(event)
            else:
                yield event


async def rows_of(store) -> list[LedgerRow]:
    return await store.ledger(KEY)


async def test_each_call_is_priced_by_its_own_model(store, run):
    await store.submit(KEY, request())
    end = await run(Calling(BIG, text("a"), SMALL))[1]
    [row] = await rows_of(store)
    assert usage_of(end.rows.values()) == row.usage
    assert row.usage == Usage(2, 1010, 110, BIG_NANOS + SMALL_NANOS, "USD", "v7", None, **UNKNOWN)
    assert (await store.record(KEY)).usage == row.usage


async def test_one_call_of_an_unknown_price_makes_the_cost_unknown(store, run):
    await store.submit(KEY, request())
    await run(Calling(BIG, ModelCall("rare", 1, 1)))[1]
    [row] = await rows_of(store)
    assert (row.model_calls, row.tokens_in, row.cost_nanos, row.currency) == (2, 1001, None, "USD")


async def test_without_a_call_it_cost_nothing(store, run):
    await store.submit(KEY, request())
    await run(Scripted(text("a")))[1]
    [row] = await rows_of(store)
    assert row.usage == Usage(0, 0, 0, 0) or row.usage == Usage(0, 0, 0, 0, "USD", "v7")


async def test_latencies_are_those_of_the_producers_own_events(store, run):
    hooks = Scripted({"type": "reasoning.delta", "data": {}}, HOLD, text("a"), text("b"))
    await store.submit(KEY, request())
    _, ended = run(hooks)
    await hooks.holding.wait()
    hooks.gate.set()
    await ended
    [row] = await rows_of(store)
    assert row.first_event_ms is not None
    assert row.first_token_ms is not None
    assert 0 <= row.first_event_ms <= row.first_token_ms <= row.wall_ms + 50


@pytest.mark.parametrize(
    ("event", "counts"),
    [
        ({"type": "message.part.updated", "data": {"delta": "x", "part": {"id": "1", "type": "text"}}}, True),
        ({"type": "result", "data": {"finalText": "x"}}, True),
        ({"type": "message.part.updated", "data": {"delta": "x", "part": {"type": "reasoning"}}}, False),
        ({"type": "tool.call", "data": {"text": "x"}}, False),
    ],
)
async def test_the_first_token_is_the_first_text_of_the_answer(store, run, event, counts):
    await store.submit(KEY, request())
    await run(Scripted(event))[1]
    [row] = await rows_of(store)
    assert row.first_event_ms is not None
    assert (row.first_token_ms is not None) is counts


async def test_who_said_nothing_has_no_latency(store, run):
    await store.submit(KEY, request())
    await run(Scripted(RuntimeError("no")))[1]
    [row] = await rows_of(store)
    assert (row.outcome, row.code) == ("failed", "producer_error")
    assert row.first_token_ms is None


async def test_a_crashed_and_a_taken_over_attempt_together_say_every_call(store, run):
    """Steps with calls; the worker dies after the second; the next one calls only for the third."""
    made = []
    reached = asyncio.Event()

    async def script(turn, agent):
        for name, call in (("one", BIG), ("two", SMALL), ("three", BIG)):

            async def ask(name=name, call=call):
                if name == "three" and turn.attempt == 1:
                    reached.set()
                    await asyncio.Event().wait()
                made.append(call)
                turn.usage.add(call)

            await turn.step(name, ask, kind="llm")
        yield text("done")

    agent = Agent(script)
    await store.submit(KEY, request())
    runner, dead = run(agent, "host/1/aaaaaa")
    await reached.wait()
    runner.attempts[KEY.run_id].stop(Stop.LOST)  # it writes nothing more
    await dead
    await lose_lease(store)
    await run(agent)[1]
    first, second = await rows_of(store)
    assert (first.outcome, first.usage) == (
        "crashed",
        Usage(2, 1010, 110, BIG_NANOS + SMALL_NANOS, "USD", "v7", None, **BROKEN),
    )
    assert (second.outcome, second.usage) == (
        "completed",
        Usage(1, 1000, 100, BIG_NANOS, "USD", "v7", "big", **UNKNOWN),
    )
    assert (first.partial, second.partial) == (True, False)
    assert (first.model_calls or 0) + (second.model_calls or 0) == len(made) == 3
    assert (await store.record(KEY)).usage == Usage(
        3, 2010, 210, 2 * BIG_NANOS + SMALL_NANOS, "USD", "v7", None, **BROKEN
    )
    assert (await store.usage(SESSION)).cost_nanos == {"USD": 2 * BIG_NANOS + SMALL_NANOS}


async def test_a_call_that_no_checkpoint_knew_stays_unknown(store, run):
    hooks = Calling(BIG, text("half"), HOLD)
    await store.submit(KEY, request())
    runner, dead = run(hooks, "host/1/aaaaaa")
    await hooks.holding.wait()
    runner.attempts[KEY.run_id].stop(Stop.LOST)
    await dead
    await lose_lease(store)
    await run(Calling(BIG, text("whole")))[1]
    first, second = await rows_of(store)
    assert (first.outcome, first.model_calls, first.tokens_in, first.cost_nanos) == ("crashed", None, None, None)
    assert second.model_calls == 1
    sums = await store.usage(SESSION)
    assert (sums.rows, sums.model_calls, sums.rows_tokens_unknown, sums.rows_cost_unknown) == (2, 1, 1, 1)


async def test_a_turn_that_fails_and_is_asked_again_pays_for_both(store, run):
    await store.submit(KEY, request())
    await run(Calling(BIG, RuntimeError("no")))[1]
    await store.submit(KEY, request())
    await run(Calling(SMALL, text("yes")))[1]
    assert [(row.outcome, row.cost_nanos) for row in await rows_of(store)] == [
        ("failed", BIG_NANOS), ("completed", SMALL_NANOS),
    ]  # fmt: skip
    assert (await store.record(KEY)).usage.cost_nanos == BIG_NANOS + SMALL_NANOS


async def test_a_handed_over_attempt_says_what_it_used(store, run):
    hooks = Calling(BIG, text("half"), HOLD)
    await store.submit(KEY, request())
    runner, ended = run(hooks)
    await hooks.holding.wait()
    runner.attempts[KEY.run_id].stop(Stop.DRAIN)
    end = await ended
    [row] = await rows_of(store)
    assert (row.outcome, row.cost_nanos, list(end.rows)) == ("handover", BIG_NANOS, [1])


async def test_a_suspension_ends_a_row_and_the_signal_begins_another(store, run):
    async def script(turn, agent):
        async def ask():
            turn.usage.add(BIG)

        await turn.step("plan", ask)
        await turn.signal("approval")
        turn.usage.add(SMALL)
        yield text("x")

    agent = Agent(script)
    await store.submit(KEY, request())
    parked = await run(agent)[1]
    assert list(parked.rows) == [1]
    assert (
        await run(agent)[1]
    ).rows == parked.rows  # whoever looks at it meanwhile can publish what its worker did not
    await store.signal(KEY, "approval", b"1")
    end = await run(agent)[1]
    assert list(end.rows) == [1, 2]
    assert [(row.outcome, row.cost_nanos) for row in await rows_of(store)] == [
        ("suspended", BIG_NANOS), ("completed", SMALL_NANOS),
    ]  # fmt: skip


async def test_a_diverged_attempt_ends_where_it_diverged(store, run):
    """The use until then belongs to its row, and the use after it to the next attempt's. Nothing counts twice."""

    async def script(turn, agent):
        turn.usage.add(SMALL)
        yield text(f"attempt {turn.attempt}")
        await turn.step("search", agent.does("search"))
        if turn.attempt == 1:
            raise RuntimeError("once")
        turn.usage.add(BIG)

    agent = Agent(script)
    await store.submit(KEY, request())
    await run(agent)[1]
    await store.submit(KEY, request())
    end = await run(agent)[1]
    assert [(row.attempt, row.outcome, row.cost_nanos) for row in await rows_of(store)] == [
        (1, "failed", SMALL_NANOS), (2, "diverged", SMALL_NANOS), (3, "completed", BIG_NANOS),
    ]  # fmt: skip
    assert list(end.rows) == [1, 2, 3]
    assert (await store.record(KEY)).usage.cost_nanos == 2 * SMALL_NANOS + BIG_NANOS


async def test_who_loses_its_turn_still_passes_on_the_rows_that_it_knows(store, run):
    """The turn may have been erased: nobody else will publish them."""
    hooks = Scripted(text("half"), HOLD)
    await store.submit(KEY, request())
    for worker in ("host/1/aaaaaa", OTHER_WORKER):
        hooks.holding.clear()
        runner, dead = run(hooks, worker)
        await hooks.holding.wait()
        runner.attempts[KEY.run_id].stop(Stop.LOST)
        end = await dead
        await lose_lease(store)
    assert [usage_of([row]) for row in end.rows.values()] == [Usage(partial=True)]
    assert list(end.rows) == [1]


async def test_rows_cross_from_the_data_redis_to_the_queues_redis(store, redis, settings, redis_url):
    """The two may be different servers, so no script touches both."""
    other = connect(f"{redis_url}?db=1", connections=2)
    queue = TurnQueue(other, settings)
    await store.submit(KEY, request())
    await queue.enqueue(KEY.run_id)
    [taken], _ = await queue.take(OTHER_WORKER, 1)
    runner = TurnRunner(store, queue, Products({None: Scripted(text("a"))}), OTHER_WORKER, PRICES)
    appending = asyncio.create_task(runner.appender.run())
    end = await runner.run(KEY.run_id)
    assert isinstance(end, Done)
    await queue.end(OTHER_WORKER, taken, end.rows)
    appending.cancel()
    [row] = await rows_of(store)
    assert [decode_row(fields[1]) for _, fields in await other.xrange(keys.LEDGER)] == [row]
    assert (await queue.usage("default")).rows == 1
    assert await redis.exists(keys.LEDGER, keys.usage("default")) == 0
    await other.aclose(close_connection_pool=True)
