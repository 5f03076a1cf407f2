"""Once the producer has ended, the answer is complete: neither a time limit nor a cancel nor a hook takes it back."""

import asyncio
from contextlib import suppress

import msgspec

from tests.support.product import Product, text
from tests.support.turns import KEY, request, take_over
from tests.support.waiting import wait_until
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.replies import CancelVerdict
from turnwire.shared.store.turns import TurnStore

RUN_ID = KEY.run_id
ANSWER = (text("Hel"), text("lo"))


async def test_a_persist_that_outlasts_the_turns_time_limit_leaves_a_complete_answer(redis, settings, runner_of):
    settings = msgspec.structs.replace(settings, turn_timeout_s=0.3, hook_timeout_s=0.6)
    store = TurnStore(redis, settings)

    class Hanging(Product):
        async def persist_assistant_message(self, turn, final_text):
            await asyncio.Event().wait()

    product = Hanging(*ANSWER)
    await store.submit(KEY, request())
    await runner_of(product, store=store).run(RUN_ID)
    record = await store.existing(KEY)
    assert (record.status, record.final_text, record.persist) == (TurnState.COMPLETED, "HELLO", "pending")
    assert product.completed == []


async def test_a_cancel_that_comes_while_only_persisting_remains_is_too_late(store, runner_of):
    persisting, gate = asyncio.Event(), asyncio.Event()

    class Slow(Product):
        async def persist_assistant_message(self, turn, final_text):
            persisting.set()
            await gate.wait()
            await super().persist_assistant_message(turn, final_text)

    product = Slow(*ANSWER)
    runner = runner_of(product)
    await store.submit(KEY, request())
    running = asyncio.create_task(runner.run(RUN_ID))
    await persisting.wait()
    await store.cancel(KEY)
    runner.look_if_cancelled(RUN_ID)
    gate.set()
    await running
    record = await store.existing(KEY)
    assert (record.status, record.final_text, record.persist) == (TurnState.COMPLETED, "HELLO", "done")
    assert product.completed == ["HELLO"]


async def test_a_failed_turn_that_is_asked_again_keeps_nothing_of_its_old_text(store, twice):
    class Recovering(Product):
        async def produce(self, turn):
            yield text(f"attempt {turn.attempt}")
            if turn.attempt == 1:
                yield {"type": "error", "data": {"message": "no more"}}

    product = Recovering()
    first, second = await twice(product)
    assert (first.final_text, second.final_text) == ("ATTEMPT 1", "ATTEMPT 2")
    assert list(product.persisted.values()) == ["ATTEMPT 2"]


class Crashing(Product):
    """Its store kills the worker, so the attempt and its lease are gone."""

    def __init__(self, store, *script):
        super().__init__(*script)
        self.store = store
        self.dies = True

    async def persist_assistant_message(self, turn, final_text):
        if self.dies:
            await take_over(self.store)
        self.calls.append("persist_assistant_message")
        if self.dies:
            await asyncio.Event().wait()


async def crash(store, runner_of, product):
    """Runs the turn until its worker is gone while it persists."""
    running = asyncio.create_task(runner_of(product).run(RUN_ID))
    await wait_until(lambda: product.calls[-1:] == ["persist_assistant_message"], "the answer to be persisted")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await store.redis.delete(KEY.lease)


async def test_a_cancel_does_not_take_the_answer_of_a_turn_whose_worker_dies(store, runner_of):
    product = Crashing(store, *ANSWER)
    await store.submit(KEY, request())
    await crash(store, runner_of, product)
    assert (await store.cancel(KEY)).verdict is CancelVerdict.REQUESTED
    product.dies = False
    await runner_of(product, "worker/next").run(RUN_ID, 1)
    record = await store.existing(KEY)
    assert (record.status, record.final_text, record.persist) == (TurnState.COMPLETED, "HELLO", "done")
    assert len(product.turns) == 1


async def test_a_turn_whose_hooks_kill_every_worker_completes_and_is_left_to_the_outbox(redis, settings, runner_of):
    store = TurnStore(redis, msgspec.structs.replace(settings, max_attempts=1))
    product = Crashing(store, *ANSWER)
    await store.submit(KEY, request())
    await crash(store, runner_of, product)
    await runner_of(product, "worker/next", store=store).run(RUN_ID, 1)
    record = await store.existing(KEY)
    assert (record.status, record.final_text, record.persist) == (TurnState.COMPLETED, None, "pending")
    assert product.calls.count("persist_assistant_message") == 1
