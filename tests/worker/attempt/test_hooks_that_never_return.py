"""Every place where a product's code runs: if it never returns there, its turn ends all the same, and others go on."""

import asyncio
import threading
from contextlib import suppress

import msgspec
import pytest

from tests.support.product import text
from tests.support.turns import KEY, SESSION, request
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.turns import TurnStore
from turnwire.worker import products
from turnwire.worker.attempt import attempt, shown, side_channel
from turnwire.worker.attempt.outcome import Again, Done
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.pool.outbox import Outbox
from turnwire.worker.products import Products
from turnwire.worker.turn import limits, steps

LIMIT_S = 20.0  # generous: the limits below are far shorter

COMPLETED = (TurnState.COMPLETED, None, "none")  # nothing is persisted: there is no such hook
PENDING = (TurnState.COMPLETED, None, "pending")
TIMED_OUT = (TurnState.FAILED, "timeout", "none")

ENDS = {  # where the code hangs -> how its turn ends: status, code of the error, persist
    "produce": TIMED_OUT,
    "final_text": TIMED_OUT,
    "stream.aclose": TIMED_OUT,
    "step": TIMED_OUT,
    "step with a timeout": (TurnState.FAILED, "producer_error", "none"),
    "stream step": TIMED_OUT,
    "transform_final_text": PENDING,
    "persist_assistant_message": PENDING,
    "on_turn_complete": COMPLETED,
    "stream step of on_turn_complete": COMPLETED,
    "on_event": COMPLETED,
    "on_ledger_row": COMPLETED,
    "trace_flush": COMPLETED,
}


@pytest.fixture(autouse=True)
def short_limits(monkeypatch):
    for module in (shown, side_channel, steps, products):
        monkeypatch.setattr(module, "CLOSE_S", 0.1)
    monkeypatch.setattr(limits, "LEAVE_S", 0.05)
    monkeypatch.setattr(attempt, "CANCEL_PAUSES_S", (0.05, 0.05))


@pytest.fixture
def limited(redis, settings):
    return TurnStore(redis, msgspec.structs.replace(settings, turn_timeout_s=0.4, hook_timeout_s=0.1, lease_ms=100))


class Hanging(ChatTurnHooks):
    """Hangs in one place, in one way. Works for the session's turn 1."""

    def __init__(self, place, form):
        self.place, self.form = place, form
        self.released, self.thread_released = asyncio.Event(), threading.Event()

    def release(self):
        self.released.set()
        self.thread_released.set()

    async def hang(self):
        match self.form:
            case "waits":
                await self.released.wait()
            case "swallows":
                while not self.released.is_set():
                    with suppress(asyncio.CancelledError):
                        await self.released.wait()
            case "in a thread":
                await asyncio.to_thread(self.thread_released.wait)

    def hook(self, name):
        """What this hook does: a plain function in the form `plain`."""
        if self.form == "plain":
            return lambda *_: self.thread_released.wait()
        hang = self.hang

        async def hanging(*_):
            await hang()

        return hanging

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name.startswith("_") or name not in ENDS or super().__getattribute__("place") != name or name == "produce":
            return found
        return super().__getattribute__("hook")(name)

    async def leaves(self):
        try:
            yield text("x")
        finally:
            await self.work()

    async def work(self):
        if self.form == "plain":
            await asyncio.to_thread(self.thread_released.wait)
        await self.hang()

    async def produce(self, turn):
        place = self.place if turn.turn_index == 0 else None
        if place == "produce":
            await self.work()
        step = self.thread_released.wait if self.form == "plain" else self.hang
        if place == "step":
            await turn.step("hang", step)
        if place == "step with a timeout":
            await turn.step("hang", step, timeout=0.05)
        if place == "stream step":
            async for event in turn.stream("hang", self.leaves):
                yield event
        yield text("hello")

    async def on_turn_complete(self, turn, final_text):
        if self.place == "stream step of on_turn_complete" and turn.turn_index == 0:
            async for _ in turn.stream("hang", self.leaves):
                break


class Closing(Hanging):
    """The same with a Producer."""

    def produce(self, turn):
        outer = self

        class Producer:
            stream = outer.leaves() if outer.place == "stream.aclose" else outer.answers()

            def final_text(self):
                return outer.hook("final_text")() if outer.place == "final_text" else None

        return Producer()

    async def answers(self):
        yield text("hello")


def hanging(place, form):
    return (Closing if place in ("final_text", "stream.aclose") else Hanging)(place, form)


@pytest.mark.parametrize("form", ["waits", "swallows", "plain", "in a thread"])
@pytest.mark.parametrize("place", ENDS)
async def test_a_turn_ends_although_a_hook_of_it_never_returns(limited, runner_of, place, form):
    product = hanging(place, form)
    await limited.submit(KEY, request())
    try:
        async with asyncio.timeout(LIMIT_S):
            assert isinstance(await runner_of(product, store=limited).run(KEY.run_id), Done)
        record = await limited.existing(KEY)
        code = record.error.code if record.error else None
        assert (record.status, code, record.persist) == ENDS[place]
        assert not await limited.redis.exists(KEY.lease)
    finally:
        product.release()


@pytest.mark.parametrize("form", ["waits", "swallows", "plain", "in a thread"])
@pytest.mark.parametrize("place", ["transform_final_text", "persist_assistant_message"])
async def test_a_try_of_the_outbox_ends_although_the_hook_never_returns(limited, redis, runner_of, place, form):
    product = hanging(place, form)
    await limited.submit(KEY, request())
    try:
        async with asyncio.timeout(LIMIT_S):
            await runner_of(product, store=limited).run(KEY.run_id)
            await redis.hdel(KEY.record, "persist_at")
            again = await Outbox(limited, Products({None: product})).run(KEY)
        assert isinstance(again, Again)
        assert (await limited.existing(KEY)).persist == "pending"
    finally:
        product.release()


@pytest.mark.parametrize("form", ["waits", "swallows", "plain", "in a thread"])
async def test_the_end_of_the_worker_does_not_wait_for_the_hooks_aclose(form):
    product = Hanging("aclose", form)
    vars(product)["aclose"] = product.hook("aclose")
    try:
        async with asyncio.timeout(LIMIT_S):
            await Products({None: product}).aclose()
    finally:
        product.release()


async def test_the_next_turn_runs_beside_a_producer_that_was_given_up(limited, runner_of):
    product = Hanging("produce", "swallows")
    runner = runner_of(product, store=limited)
    for index in range(2):
        await limited.submit(SESSION.turn(index), request())
        assert isinstance(await runner.run(SESSION.turn(index).run_id), Done)
    assert (await limited.existing(SESSION.turn(1))).status is TurnState.COMPLETED
    product.release()
