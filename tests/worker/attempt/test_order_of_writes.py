"""The order in which an attempt writes to Redis, and in which it closes things."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from tests.support.product import Scripted, text
from tests.support.turns import KEY, log_of, request, seqs_of, types_of
from tests.support.waiting import let_pass, wait_until
from turnwire import Turn
from turnwire.shared.errors import TurnFailure
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.outcome import Done
from turnwire.worker.attempt.produce import Forwarder, produce
from turnwire.worker.turn.accumulator import TextAccumulator
from turnwire.worker.turn.meter import Meter
from turnwire.worker.turn.prices import Prices

NO_TURN = cast("Turn", SimpleNamespace(usage=Meter(Prices())))  # nothing else of it is asked here


class SlowLog(TurnStore):
    """Appends wait for the gate; everything else is done at once, and noted."""

    def __init__(self, store: TurnStore) -> None:
        super().__init__(store.redis, store.settings)
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()
        self.wrote: list[str] = []

    async def append_many(self, appends):
        self.waiting.set()
        await self.gate.wait()
        self.wrote.append("append")
        return await super().append_many(appends)

    async def checkpoint(self, claimed, step, history=b"", **checks):
        self.wrote.append("checkpoint")
        await super().checkpoint(claimed, step, history, **checks)

    async def settle(self, *args, **known):
        self.wrote.append("settle")
        return await super().settle(*args, **known)


class Told(Scripted):
    """A hook follows its producer."""

    def on_turn_complete(self, turn, final_text):
        pass


@pytest.mark.parametrize(
    ("product", "order", "last"),
    [
        (Scripted(text("a")), ["append", "settle"], "session.run.completed"),
        (Told(text("a")), ["append", "checkpoint", "settle"], "session.run.completed"),
        (Told(text("a"), RuntimeError("no")), ["append", "settle"], "session.run.failed"),
    ],
    ids=["completed", "completed with a hook", "failed"],
)
async def test_every_event_is_in_the_log_before_the_step_that_covers_it_and_before_the_end(
    store, runner_of, product, order, last
):
    slow = SlowLog(store)
    await store.submit(KEY, request())
    run = asyncio.create_task(runner_of(product, store=slow).run(KEY.run_id))
    await slow.waiting.wait()
    await wait_until(lambda: product.closed, "the producer to end")
    await let_pass(0.05)  # nothing may be written now
    assert slow.wrote == []
    slow.gate.set()
    assert isinstance(await run, Done)
    assert list(dict.fromkeys(slow.wrote)) == order
    log = await log_of(store)
    assert types_of(log)[1] == "message.part.updated"
    assert types_of(log)[-1] == last
    assert seqs_of(log) == list(range(len(log)))


class Kept(Scripted):
    """Holds on to its generator, so that only an explicit close ends it."""

    def produce(self, turn):
        self.stream = super().produce(turn)
        return self.stream


class Sink:
    def put(self, event: bytes, *, own: bool = False) -> bool:
        return False

    async def room(self) -> None:
        """There is always room."""


async def test_a_producer_whose_event_is_refused_is_closed_at_once():
    product = Kept({"type": "x", "data": {"t": "a" * 500}}, text("never"))
    with pytest.raises(TurnFailure):
        await produce(product, NO_TURN, Forwarder(NO_TURN, 100, TextAccumulator()), Sink())
    assert product.closed == 1


async def test_a_producer_whose_log_is_lost_is_closed_at_once():
    class Lost(Sink):
        def put(self, event: bytes, *, own: bool = False) -> bool:
            raise TurnFailure("lost")

    product = Kept(text("a"), text("never"))
    with pytest.raises(TurnFailure):
        await produce(product, NO_TURN, Forwarder(NO_TURN, 1000, TextAccumulator()), Lost())
    assert product.closed == 1


async def test_a_producer_is_not_asked_for_more_while_the_log_has_no_room():
    room, asked = asyncio.Event(), []

    class Full(Sink):
        def put(self, event: bytes, *, own: bool = False) -> bool:
            asked.append(event)
            return True

        async def room(self) -> None:
            await room.wait()

    producing = asyncio.create_task(
        produce(Scripted(text("a"), text("b")), NO_TURN, Forwarder(NO_TURN, 1000, TextAccumulator()), Full())
    )
    await wait_until(lambda: asked, "the first event")
    await let_pass(0.02)
    assert len(asked) == 1
    room.set()
    assert (await producing).text == "ab"
