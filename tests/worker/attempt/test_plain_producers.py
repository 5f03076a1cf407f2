"""`produce` as a plain function or a plain generator: it runs in a thread, and its errors stay in its turn."""

import threading

import pytest

from tests.support.turns import KEY, request
from turnwire import ChatTurnHooks


def text(delta: str) -> dict:
    return {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": delta}}


class PlainGenerator(ChatTurnHooks):
    def produce(self, turn):
        for word in "one ", "two ", "three":
            yield text(word if threading.current_thread() is not threading.main_thread() else "in the loop")


class PlainFunction(ChatTurnHooks):
    def produce(self, turn):
        where = "the loop" if threading.current_thread() is threading.main_thread() else "a thread"

        async def events():
            yield text(f"made in {where}")

        return events()


class Exits(ChatTurnHooks):
    def produce(self, turn):
        yield text("paid for")
        raise SystemExit(2)


class ExitsInTheLoop(ChatTurnHooks):
    async def produce(self, turn):
        yield text("paid for")
        raise SystemExit(2)


@pytest.mark.parametrize(
    ("hooks", "text_"), [(PlainGenerator(), "one two three"), (PlainFunction(), "made in a thread")]
)
async def test_a_plain_producer_runs_in_a_thread(store, runner_of, hooks, text_):
    await store.submit(KEY, request())
    await runner_of(hooks).run(KEY.run_id)
    record = await store.record(KEY)
    assert (record.status.value, record.final_text) == ("completed", text_)


@pytest.mark.parametrize("hooks", [Exits(), ExitsInTheLoop()])
async def test_a_producer_that_exits_fails_its_turn(store, runner_of, hooks):
    await store.submit(KEY, request())
    await runner_of(hooks).run(KEY.run_id)
    record = await store.record(KEY)
    assert (record.status.value, record.error.code) == ("failed", "producer_error")
    assert "SystemExit" in record.error.message
