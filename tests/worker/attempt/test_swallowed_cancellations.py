"""A producer that does not obey its cancellation: the turn ends all the same, as its reason says."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import pytest

from tests.support.agent import Agent
from tests.support.product import text
from tests.support.turns import KEY, log_of, request, snapshot, take_over, types_of
from tests.support.waiting import wait_until
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt import attempt as attempts
from turnwire.worker.attempt.attempt import Stop
from turnwire.worker.attempt.outcome import Again, Done
from turnwire.worker.turn.given_up import GivenUp

RUN_ID = KEY.run_id


class Disobedient(Agent):
    """Holds until it is cancelled, and then does what the test says instead of ending."""

    def __init__(self, then):
        super().__init__(self.script_of_it)
        self.then = then
        self.holding, self.ended = asyncio.Event(), asyncio.Event()
        self.release = asyncio.Event()  # for one that ignores everything
        self.swallowed = 0

    async def hold(self):
        """Wait for a cancellation and swallow it."""
        self.holding.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.swallowed += 1

    async def script_of_it(self, turn, agent):
        yield text("half")
        await agent.hold()
        try:
            async for event in self.then(turn, agent):
                yield event
        finally:
            self.ended.set()


async def goes_on(turn, agent):
    for _ in range(1000):
        yield text("more")
        await asyncio.sleep(0)


async def returns(turn, agent):
    if turn is None:
        yield


async def raises_its_own(turn, agent):
    if turn is None:
        yield
    raise ValueError("interrupted")


async def ignores_everything(turn, agent):
    while not agent.release.is_set():
        await agent.hold()
    yield text("late")


async def goes_on_with_a_step(turn, agent):
    while not agent.release.is_set():
        await agent.hold()
    await turn.step("late", agent.does("late"))
    yield text("late")


async def asks_for_a_signal(turn, agent):
    await turn.signal("approval")
    yield text("late")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(attempts, "CANCEL_PAUSES_S", (0.05, 0.05, 0.05))


@pytest.fixture
def counted(monkeypatch):
    """What is given up in this test only."""
    own = GivenUp()
    monkeypatch.setattr(attempts, "given_up", own)
    return own


@pytest.fixture
def stopped(store, runner_of):
    """Runs a turn of this product until it holds, and stops it. Returns what becomes of the job."""

    async def run(product: Disobedient, stop: Callable[..., Awaitable[None]]):
        runner = runner_of(product)
        await store.submit(KEY, request())
        running = asyncio.create_task(runner.run(RUN_ID))
        await wait_until(product.holding.is_set, "the producer to hold")
        await runner.attempts[RUN_ID].log.flush()
        await stop(store, runner)
        return await asyncio.wait_for(running, 10)

    return run


async def cancel(store, runner):
    await store.cancel(KEY, reason="enough")
    runner.look_if_cancelled(RUN_ID)


async def drain(store, runner):
    runner.give_back()


async def time_is_up(store, runner):
    runner.attempts[RUN_ID].stop(Stop.LIMIT)


DISOBEDIENCES = [goes_on, returns, raises_its_own, ignores_everything, asks_for_a_signal]


@pytest.mark.parametrize("then", DISOBEDIENCES)
async def test_a_cancelled_turn_is_cancelled_whatever_its_producer_does(store, stopped, then):
    product = Disobedient(then)
    assert isinstance(await stopped(product, cancel), Done)
    record = await store.existing(KEY)
    assert (record.status, record.error.code) == (TurnState.CANCELLED, "cancelled")
    assert record.error.message == "the turn was cancelled: enough"
    assert types_of(await log_of(store)) == ["session.run.started", "message.part.updated", "session.run.failed"]
    product.release.set()


@pytest.mark.parametrize("then", DISOBEDIENCES)
async def test_a_turn_whose_time_is_up_fails_with_timeout_whatever_its_producer_does(store, stopped, then):
    product = Disobedient(then)
    assert isinstance(await stopped(product, time_is_up), Done)
    record = await store.existing(KEY)
    assert (record.status, record.error.code, record.error.retryable) == (TurnState.FAILED, "timeout", True)
    assert types_of(await log_of(store)) == [
        "session.run.started", "message.part.updated", "error", "session.run.failed",
    ]  # fmt: skip
    product.release.set()


@pytest.mark.parametrize("then", DISOBEDIENCES)
async def test_a_drained_turn_is_handed_over_whatever_its_producer_does(store, redis, stopped, then):
    product = Disobedient(then)
    assert (await stopped(product, drain)).delay_ms == 0
    assert (await store.existing(KEY)).status is TurnState.QUEUED
    assert not await redis.exists(KEY.lease)
    product.release.set()


@pytest.mark.parametrize("then", DISOBEDIENCES)
async def test_a_turn_that_another_worker_has_taken_over_is_left_alone(store, redis, stopped, then):
    async def taken_over(store, runner):
        await take_over(store)
        stopped.before = await snapshot(redis)
        runner.attempts[RUN_ID].stop(Stop.LOST)

    product = Disobedient(then)
    assert isinstance(await stopped(product, taken_over), Again)
    assert await snapshot(redis) == stopped.before
    product.release.set()


async def test_the_time_limit_itself_is_no_exception_that_a_producer_can_swallow(redis, settings, runner_of):
    store = TurnStore(redis, msgspec.structs.replace(settings, turn_timeout_s=0.2, lease_ms=100))
    product = Disobedient(ignores_everything)
    await store.submit(KEY, request())
    assert isinstance(await runner_of(product, store=store).run(RUN_ID), Done)
    assert (await error_of(store)).code == "timeout"
    assert product.swallowed >= 2
    product.release.set()


async def test_a_producer_that_swallows_everything_is_given_up_and_counted_until_it_ends(counted, stopped, caplog):
    product = Disobedient(ignores_everything)
    await stopped(product, cancel)
    assert product.swallowed > 1
    assert counted.count == 1
    assert f"gave up on work {RUN_ID}" in caplog.text
    product.release.set()
    await wait_until(lambda: counted.count == 0, "it is not counted any more")
    assert product.ended.is_set()


@pytest.mark.parametrize("stop", [cancel, drain, time_is_up])
async def test_a_producer_that_was_given_up_writes_nothing_to_its_turn(store, redis, stopped, stop):
    product = Disobedient(goes_on_with_a_step)
    await stopped(product, stop)
    before = await snapshot(redis)
    product.release.set()
    await wait_until(product.ended.is_set, "the end of its producer")
    assert product.ran == ["late"]
    assert await snapshot(redis) == before


async def test_it_writes_nothing_between_the_moment_it_was_given_up_and_the_turns_end(redis, settings, runner_of):
    class Slow(TurnStore):
        settling, gate = asyncio.Event(), asyncio.Event()

        async def settle(self, *args, **kwargs):
            self.settling.set()
            await self.gate.wait()
            return await super().settle(*args, **kwargs)

    store = Slow(redis, msgspec.structs.replace(settings, turn_timeout_s=0.2, lease_ms=100))
    product = Disobedient(goes_on_with_a_step)
    await store.submit(KEY, request())
    running = asyncio.create_task(runner_of(product, store=store).run(RUN_ID))
    await store.settling.wait()
    before = await snapshot(redis)
    product.release.set()
    await wait_until(product.ended.is_set, "the end of its producer")
    assert product.ran == ["late"]
    assert await snapshot(redis) == before
    store.gate.set()
    await running
    assert (await error_of(store)).code == "timeout"


async def test_a_step_that_swallows_its_time_limit_fails_all_the_same(store, runner_of):
    async def stubborn():
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "too late"

    async def script(turn, agent):
        await turn.step("slow", stubborn, timeout=0.01)
        yield text("never")

    await store.submit(KEY, request())
    await runner_of(Agent(script)).run(RUN_ID)
    assert (await error_of(store)).code == "producer_error"
    [slow] = (await store.steps(KEY)).values()
    assert slow.error == {"type": "TimeoutError", "message": "step 'slow' took longer than 0.01 s"}


async def test_many_calls_that_were_given_up_call_for_another_process_once(caplog):
    own, calls = GivenUp(), []
    own.limit, own.on_too_many = 2, lambda: calls.append("too many")
    for _ in range(4):
        own.add_thread("hangs")
    assert (own.count, calls) == (4, ["too many"])
    assert "has to be replaced" in caplog.text
    for _ in range(4):
        own.thread_returned()
    assert own.count == 0


async def error_of(store):
    record = await store.existing(KEY)
    assert record.error is not None
    return record.error
