"""Steps that a hook after the producer asks for: stored beside the producer's, once per turn, also across a crash."""

import pytest

from tests.support.product import Scripted, text
from tests.support.turns import KEY, request, take_over
from turnwire import MisplacedStepError
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Claimed
from turnwire.worker.attempt.outcome import Done
from turnwire.worker.pool.outbox import Outbox
from turnwire.worker.products import Products


class Mailing(Scripted):
    """Its hooks ask for steps. After that, its store fails `persist_fails` times."""

    def __init__(self, persist_fails=0):
        super().__init__(text("hello"))
        self.persist_fails = persist_fails
        self.ran, self.refused = [], []

    def ran_once(self, name):
        async def work():
            self.ran.append(name)
            return name

        return work

    async def transform_final_text(self, turn, answer):
        return answer + await turn.step("sign", self.ran_once("sign"))

    async def persist_assistant_message(self, turn, final_text):
        await turn.step("open", self.ran_once("open"))
        await turn.step("charge", self.ran_once("charge"))
        if self.persist_fails:
            self.persist_fails -= 1
            raise RuntimeError("no database")

    async def on_turn_complete(self, turn, final_text):
        assert await turn.step("mail", self.ran_once("mail")) == "mail"
        try:
            await turn.signal("approval")
        except MisplacedStepError as error:
            self.refused.append(str(error))

    async def on_event(self, turn, event):
        if event.type.startswith("session.run."):
            await turn.step(event.type, self.ran_once(event.type))


EVENTS = ["session.run.started", "session.run.completed"]


async def steps_of(store):
    return {position: step.intent for position, step in (await store.steps(KEY)).items()}


async def test_they_never_meet_the_positions_of_the_producer_nor_those_of_the_worker(store, runner_of):
    product = Mailing()
    await store.submit(KEY, request())
    await runner_of(product).run(KEY.run_id, 1)
    assert (await store.existing(KEY)).status is TurnState.COMPLETED
    assert await steps_of(store) == {
        0: "turn",
        1: "transform_final_text",
        2: "persist_assistant_message",
        3: "on_turn_complete",
        "transform_final_text/0": "sign",
        "persist_assistant_message/0": "open",
        "persist_assistant_message/1": "charge",
        "on_turn_complete/0": "mail",
        "on_event/session.run.started": "session.run.started",
        "on_event/session.run.completed": "session.run.completed",
    }
    assert [name for name in product.ran if name not in EVENTS] == ["sign", "open", "charge", "mail"]
    assert product.refused == ["on_turn_complete cannot wait for a signal: only `produce` can"]


async def test_a_hook_that_is_tried_again_gets_its_steps_results(store, runner_of):
    product = Mailing(persist_fails=2)
    await store.submit(KEY, request())
    await runner_of(product).run(KEY.run_id, 1)
    assert (await store.existing(KEY)).persist == "done"
    assert [product.ran.count(name) for name in ("open", "charge")] == [1, 1]


async def test_the_outbox_runs_no_step_again_and_stores_those_that_it_runs(store, runner_of):
    product = Mailing(persist_fails=4)
    await store.submit(KEY, request())
    await runner_of(product).run(KEY.run_id, 1)
    outbox = Outbox(store, Products({None: product}))
    await outbox.run(KEY)
    await store.redis.hdel(KEY.record, "persist_at")  # as if its pause were over
    assert isinstance(await outbox.run(KEY), Done)
    record = await store.existing(KEY)
    assert (record.persist, record.final_text) == ("done", "hellosign")
    assert [product.ran.count(name) for name in ("sign", "open", "charge", "mail")] == [1, 1, 1, 1]
    assert (await steps_of(store))["on_turn_complete/0"] == "mail"


@pytest.mark.parametrize("point", ["persist_assistant_message", "on_turn_complete"])
async def test_they_survive_a_crash_of_the_worker(store, runner_of, monkeypatch, point):
    """The worker is gone after the steps of the hook, and before the hook's own checkpoint."""
    product, real = Mailing(), store.checkpoint

    async def checkpoint(claimed: Claimed, step, history=b"", **checks):
        if step.intent == point:
            await take_over(store)  # somebody else has the turn now
        await real(claimed, step, history, **checks)

    monkeypatch.setattr(store, "checkpoint", checkpoint)
    await store.submit(KEY, request())
    await runner_of(product).run(KEY.run_id, 1)
    monkeypatch.undo()
    await store.redis.delete(KEY.lease)
    await runner_of(product, "worker/next").run(KEY.run_id, 1)
    assert (await store.existing(KEY)).status is TurnState.COMPLETED
    assert len(product.turns) == 1  # the producer ran once
    assert [product.ran.count(name) for name in ("sign", "open", "charge", "mail")] == [1, 1, 1, 1]


async def test_a_step_of_the_producer_after_its_end_is_refused(store, runner_of):
    class Late(Mailing):
        async def on_turn_complete(self, turn, final_text):
            self.refused.append("seen")

    product = Late()
    await store.submit(KEY, request())
    await runner_of(product).run(KEY.run_id, 1)
    with pytest.raises(MisplacedStepError, match="after the producer has ended"):
        product.turns[0].step("late", product.ran_once("late"))
