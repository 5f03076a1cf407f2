"""After the producer: transform, persist, complete; each once, each retried, each remembered."""

import asyncio
from typing import cast

import pytest

from tests.support.product import Product, Scripted
from turnwire import Turn
from turnwire.worker.attempt.finish import Finished, HookPolicy, finish, keep
from turnwire.worker.turn import limits


class Kept:
    """Steps that are remembered, as checkpoints are."""

    def __init__(self) -> None:
        self.done: dict = {}

    async def run(self, intent, work, kind="logic"):
        if intent not in self.done:
            self.done[intent] = await work()
        return self.done[intent]


class FakeTurn:
    run_id = "chat:demo:0"
    message_id = "m1"


TURN = cast("Turn", FakeTurn())
ORDER = ["transform_final_text", "persist_assistant_message", "on_turn_complete"]


async def test_c7_the_order_is_transform_persist_complete():
    product = Product()
    assert await finish(Kept(), product, TURN, "hi", HookPolicy(3, 5)) == Finished("HI", "done")
    assert product.calls == ORDER
    assert (product.persisted, product.completed) == ({"m1": "HI"}, ["HI"])


async def test_a_product_without_hooks_keeps_the_text_as_it_is():
    assert await finish(Kept(), Scripted(), TURN, "hi", HookPolicy(3, 5)) == Finished("hi", "none")


async def test_hooks_may_be_plain_functions():
    class Plain(Scripted):
        def transform_final_text(self, turn, text):
            return text[::-1]

        def persist_assistant_message(self, turn, final_text):
            self.kept = final_text

    product = Plain()
    assert await finish(Kept(), product, TURN, "ab", HookPolicy(3, 5)) == Finished("ba", "done")
    assert product.kept == "ba"


@pytest.mark.parametrize("name", ORDER[:2])
async def test_a_hook_that_fails_is_tried_again_in_place(name):
    product = Product(**{name: 2})
    assert await finish(Kept(), product, TURN, "hi", HookPolicy(3, 5)) == Finished("HI", "done")
    assert product.calls.count(name) == 3


async def test_c82_a_persist_that_goes_on_failing_is_pending_and_loses_no_text():
    product = Product(persist_assistant_message=99)
    assert await finish(Kept(), product, TURN, "hi", HookPolicy(3, 5)) == Finished("HI", "pending")
    assert product.calls.count("persist_assistant_message") == 3


async def test_a_text_that_cannot_be_transformed_goes_nowhere():
    product = Product(transform_final_text=99)
    assert await finish(Kept(), product, TURN, "hi", HookPolicy(2, 5)) == Finished(None, "pending", "hi")
    assert (product.persisted, product.completed) == ({}, [])
    assert set(product.calls) == {"transform_final_text"}


async def test_on_turn_complete_waits_until_the_answer_is_persisted():
    product = Product(persist_assistant_message=99)
    await finish(Kept(), product, TURN, "hi", HookPolicy(2, 5))
    assert product.completed == []


@pytest.mark.parametrize("name", ORDER)
@pytest.mark.parametrize("swallows", [False, True])
async def test_a_hook_that_hangs_is_left_behind_and_is_not_tried_again(monkeypatch, name, swallows):
    monkeypatch.setattr(limits, "LEAVE_S", 0.01)
    product, calls, gate = Product(), [], asyncio.Event()

    async def hang(turn, text):
        calls.append(name)
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                if not swallows:
                    raise

    monkeypatch.setattr(product, name, hang)
    finished = await finish(Kept(), product, TURN, "hi", HookPolicy(3, 0.05))
    gate.set()
    assert calls == [name]
    assert (
        finished
        == {
            "transform_final_text": Finished(None, "pending", "hi"),
            "persist_assistant_message": Finished("HI", "pending"),
            "on_turn_complete": Finished("HI", "done"),
        }[name]
    )


@pytest.mark.parametrize("name", ORDER)
async def test_a_hook_that_cancels_itself_has_failed_and_nothing_else(monkeypatch, name):
    product = Product()

    async def cancel_itself(turn, text):
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    monkeypatch.setattr(product, name, cancel_itself)
    finished = await finish(Kept(), product, TURN, "hi", HookPolicy(1, 5))
    assert finished.persist == ("done" if name == "on_turn_complete" else "pending")


@pytest.mark.parametrize("returned", [None, 5, b"x"])
async def test_a_transform_that_returns_no_text_counts_as_failing(returned):
    class Wrong(Scripted):
        def transform_final_text(self, turn, text):
            return returned

    assert await keep(Kept(), Wrong(), TURN, "hi", HookPolicy(2, 5)) == Finished(None, "pending", "hi")


async def test_a_failing_on_turn_complete_is_swallowed_and_not_tried_again():
    product = Product(on_turn_complete=99)
    assert await finish(Kept(), product, TURN, "hi", HookPolicy(3, 5)) == Finished("HI", "done")
    assert product.calls.count("on_turn_complete") == 1


async def test_c8_what_was_done_by_an_earlier_attempt_is_skipped():
    steps, product = Kept(), Product()
    await finish(steps, product, TURN, "hi", HookPolicy(3, 5))
    assert await finish(steps, product, TURN, "hi", HookPolicy(3, 5)) == Finished("HI", "done")
    assert product.calls == ORDER


async def test_a_crash_in_between_goes_on_where_it_stopped():
    steps, product = Kept(), Product()
    steps.done = {"transform_final_text": "HI"}
    await finish(steps, product, TURN, "hi", HookPolicy(3, 5))
    assert product.calls == ORDER[1:]


async def test_what_a_hook_returns_is_its_own_business():
    class Odd(Scripted):
        async def persist_assistant_message(self, turn, final_text):
            return object()

    steps = Kept()
    assert await finish(steps, Odd(), TURN, "hi", HookPolicy(3, 5)) == Finished("hi", "done")
    assert steps.done == {"persist_assistant_message": None}


@pytest.mark.parametrize("name", ORDER)
async def test_a_cancellation_gets_out(name):
    class Cancelled(Kept):
        async def run(self, intent, work, kind="logic"):
            if intent == name:
                raise asyncio.CancelledError
            return await super().run(intent, work, kind)

    with pytest.raises(asyncio.CancelledError):
        await finish(Cancelled(), Product(), TURN, "hi", HookPolicy(3, 5))
