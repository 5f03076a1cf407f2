"""A whole turn, whose model server goes on with an answer while no worker reads it."""

import asyncio
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest

from tests.support.model_server import running_model_server
from tests.support.turns import KEY, claim, request
from tests.worker.backends.asking import QUICK, collect, wait_until
from turnwire import ChatTurnHooks
from turnwire.backends import OpenAIBackend, OpenAIHooks
from turnwire.testing import crash_at_each_write, run_turn
from turnwire.worker.attempt.outcome import Done
from turnwire.worker.backends.generation import Origin
from turnwire.worker.backends.quirks import Quirks

MANY = "a 20000 200"
KEPT = Quirks(continues="llama-stream")


@pytest.fixture
async def server():
    async with running_model_server() as server:
        yield server


@pytest.fixture
async def hooks(server):
    hooks = OpenAIHooks(OpenAIBackend(server.url, None, "m", QUICK, quirks=KEPT))
    yield hooks
    await hooks.aclose()


async def test_a_crash_at_any_write_costs_no_word(server, hooks):
    report = await crash_at_each_write(lambda: hooks, "a 6 1000")
    assert report.problems == [], str(report)
    undisturbed = 1 + 3  # the first run, and the one after the last write of each mode
    assert len(server.bills) <= len(report.runs) + undisturbed, "one generation for each turn"
    assert {bill["tokens_out"] for bill in server.bills} == {6}


async def test_the_usage_is_whole_and_the_client_drops_nothing(server, hooks):
    run = await run_turn(lambda: hooks, "a 20 1000", crash_after="append")
    assert (run.status, run.attempts, server.paid) == ("completed", 2, 20)
    before = [event for event in run.events if event.id.startswith("1-")]
    assert next(event for event in run.events if event.type == "session.run.resumed").data["after"] == before[-1].id
    assert [(row.outcome, row.tokens_in, row.tokens_out) for row in run.rows] == [
        ("crashed", None, None),
        ("completed", 10, 20),
    ]


class Agent(ChatTurnHooks):
    """Asks twice, each time in a stream step."""

    continues_answers = True

    def __init__(self, backend: OpenAIBackend) -> None:
        self.backend = backend

    async def produce(self, turn):
        for name in ("plan", "answer"):
            messages = [{"role": "user", "content": f"{name} 20 1000"}]
            begun = turn.partial_events
            async for event in turn.stream(name, partial(self.backend.ask, turn, messages, name=name, begun=begun)):
                yield event


async def test_each_stream_of_an_agent_is_read_again(server, hooks):
    run = await run_turn(lambda: Agent(hooks._backend), "go", crash_after=["append", "checkpoint.plan"])
    assert (run.status, run.attempts, server.paid) == ("completed", 3, 40)
    assert run.final_text == "".join(
        " ".join(f"{name}.{number}" for number in range(20)) for name in ("plan", "answer")
    )


async def test_a_cancelled_turn_stops_the_model(server, hooks):
    run = await run_turn(lambda: hooks, MANY, cancel_after=5)
    assert run.status == "cancelled"
    await is_stopped(server)


async def test_a_turn_that_is_cancelled_when_its_worker_is_dead_stops_the_model(server, hooks, store, runner_of):
    await store.submit(KEY, request(MANY))
    claimed = await claim(store)
    events: list[dict[str, Any]] = []
    origin = Origin(f"{KEY.run_id}/{claimed.record.created_at}/", moves=lambda: True)
    answer = hooks._backend.stream(
        [{"role": "user", "content": MANY}], idempotency_key="k", on_call=lambda _: None, origin=origin
    )
    dying = asyncio.create_task(collect(answer, events))
    await wait_until(lambda: len(events) > 5)
    dying.cancel()
    await asyncio.wait({dying})
    await wait_until(lambda: server.paid > len(events) + 5)
    await store.cancel(KEY)
    await store.redis.delete(KEY.lease)
    assert isinstance(await runner_of(hooks).run(KEY.run_id), Done)
    await is_stopped(server)


async def is_stopped(server):
    paid = server.paid
    async with aclosing(OpenAIBackend(server.url, None, "m", QUICK)) as other:
        answer = other.stream([{"role": "user", "content": "b 20 200"}], idempotency_key="k", on_call=lambda _: None)
        assert [event async for event in answer]  # 0.1 s, in which the other answer would have 20 words more
    assert server.paid == paid + 20
