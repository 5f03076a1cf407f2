"""`on_event` and `on_turn_failed` hear of turns that a script has ended while nobody ran them."""

import pytest

from tests.support.product import Product, Scripted
from tests.support.turns import KEY, WORKER, append, claim, delta, request, submit_and_claim
from turnwire.shared.events import RUN_FAILED, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.waking import cancel_and_wake
from turnwire.worker.attempt.outcome import Done

RUN_ID = KEY.run_id
CANCELLED = ["session.run.resumed", "session.run.failed"]
GIVEN_UP = ["session.run.resumed", "error", "session.run.failed"]


async def cancelled_while_it_waits(store, queue, settings):
    await store.submit(KEY, request())
    await cancel_and_wake(store, queue, KEY, "enough")


async def cancelled_while_it_is_suspended(store, queue, settings):
    await store.submit(KEY, request())
    await store.suspend(await claim(store), "approval", None, 1, b"{}")
    await cancel_and_wake(store, queue, KEY, "enough")


async def cancelled_when_its_worker_was_dead(store, queue, settings):
    await store.submit(KEY, request())
    await claim(store)
    await store.cancel(KEY)
    await store.redis.delete(KEY.lease)


async def given_up(store, queue, settings):
    await store.submit(KEY, request())
    for _ in range(settings.max_attempts):
        await claim(store)
        await store.redis.delete(KEY.lease)


@pytest.mark.parametrize(
    ("ended", "shown"),
    [
        (cancelled_while_it_waits, ["session.run.started", "session.run.failed"]),
        (cancelled_while_it_is_suspended, CANCELLED),
        (cancelled_when_its_worker_was_dead, CANCELLED),
        (given_up, GIVEN_UP),
    ],
)
async def test_whoever_ends_the_job_shows_the_last_events(store, queue, settings, runner_of, ended, shown):
    product = Product()
    await ended(store, queue, settings)
    assert isinstance(await runner_of(product).run(RUN_ID), Done)
    assert product.seen == shown
    assert not product.turns


async def test_a_worker_that_dies_in_between_leaves_it_to_the_next_one(store, queue, settings, runner_of):
    """The script has ended the turn with the claim of a worker that has shown nothing of it."""
    await given_up(store, queue, settings)
    await store.claim(KEY, WORKER)
    product = Product()
    await runner_of(product).run(RUN_ID)
    assert product.seen == GIVEN_UP


async def test_a_turn_that_a_worker_has_ended_is_not_shown_twice(store, runner_of):
    product = Product()
    await store.submit(KEY, request())
    await runner_of(product).run(RUN_ID)
    seen = list(product.seen)
    await runner_of(product).run(RUN_ID)
    assert product.seen == seen
    assert seen[-1] == "session.run.completed"


async def test_a_product_that_listens_to_nothing_or_fails_ends_the_job_too(store, queue, settings, runner_of, caplog):
    class Fails(Scripted):
        async def on_event(self, turn, event):
            raise RuntimeError("no")

    await cancelled_while_it_waits(store, queue, settings)
    assert isinstance(await runner_of(Scripted()).run(RUN_ID), Done)
    assert isinstance(await runner_of(Fails()).run(RUN_ID), Done)
    assert "on_event failed" in caplog.text


async def test_a_worker_without_hooks_for_its_project_ends_the_job_all_the_same(store, queue, runner_of):
    await store.submit(KEY, request(project="tax"))
    await cancel_and_wake(store, queue, KEY, "enough")
    assert isinstance(await runner_of({"legal": Product()}).run(RUN_ID), Done)


class Told(Product):
    """Notes what it is told of turns without an answer."""

    def __init__(self):
        super().__init__()
        self.told = []

    def on_turn_failed(self, turn, error, partial_text):
        self.told.append((turn.run_id, error.code, partial_text))


async def refused_when_it_was_asked_again(store, queue, settings):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, delta("half"))
    failed = {"error_code": "x", "error_message": "", "retryable": 1}
    await store.settle(claimed, TurnState.FAILED, 2, [encode_event(RUN_FAILED, {})], failed)
    submitted = await store.submit(KEY, request())
    assert await store.withdraw(submitted, [encode_event(RUN_FAILED, {})]) is not None


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (cancelled_while_it_waits, "cancelled"),
        (cancelled_while_it_is_suspended, "cancelled"),
        (cancelled_when_its_worker_was_dead, "cancelled"),
        (given_up, "attempts_exhausted"),
        (refused_when_it_was_asked_again, "queue_full"),
    ],
)
async def test_whoever_ends_the_job_tells_the_product_once(store, queue, settings, runner_of, ended, code):
    product = Told()
    await ended(store, queue, settings)
    for _ in range(2):
        assert isinstance(await runner_of(product).run(RUN_ID), Done)
    assert product.told == [(RUN_ID, code, "")]
