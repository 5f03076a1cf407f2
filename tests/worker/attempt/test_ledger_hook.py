"""on_ledger_row: a product sees the rows of its turn, after they are written, never in the way of the turn."""

import asyncio

import pytest

from tests.support.product import HOLD, Product, text
from tests.support.turns import KEY, OTHER_WORKER, lose_lease, request
from turnwire.worker.attempt import shown
from turnwire.worker.attempt.attempt import Stop


class Billing(Product):
    """Notes the rows that it is shown."""

    def __init__(self, *script, **fail):
        super().__init__(*script, **fail)
        self.rows = []

    async def on_ledger_row(self, turn, row):
        self._called("on_ledger_row")
        self.rows.append((turn.run_id, row.attempt, row.outcome))


async def test_it_sees_the_row_after_the_turn_has_settled(store, runner_of):
    seen = []

    class Looking(Billing):
        async def on_ledger_row(self, turn, row):
            await super().on_ledger_row(turn, row)
            seen.append((await store.record(KEY)).status.value)

    hooks = Looking(text("a"))
    await store.submit(KEY, request())
    await runner_of(hooks).run(KEY.run_id)
    assert hooks.rows == [(KEY.run_id, 1, "completed")]
    assert hooks.calls[-2:] == ["on_ledger_row", "trace_flush"]
    assert seen == ["completed"]


async def test_it_sees_the_row_of_the_attempt_that_died_before(store, runner_of):
    hooks = Billing(text("half"), HOLD)
    await store.submit(KEY, request())
    runner = runner_of(hooks)
    dead = asyncio.create_task(runner.run(KEY.run_id))
    await hooks.holding.wait()
    runner.attempts[KEY.run_id].stop(Stop.LOST)
    await dead
    assert hooks.rows == []
    await lose_lease(store)
    hooks.gate.set()
    await runner_of(hooks, OTHER_WORKER).run(KEY.run_id)
    assert hooks.rows == [(KEY.run_id, 1, "crashed"), (KEY.run_id, 2, "completed")]


async def test_one_that_fails_changes_nothing(store, runner_of):
    hooks = Billing(text("a"), on_ledger_row=1)
    await store.submit(KEY, request())
    end = await runner_of(hooks).run(KEY.run_id)
    assert list(end.rows) == [1]
    assert (await store.record(KEY)).status.value == "completed"
    assert hooks.calls[-1] == "trace_flush"


async def test_one_that_hangs_is_left(store, runner_of, monkeypatch: pytest.MonkeyPatch):
    class Hanging(Billing):
        async def on_ledger_row(self, turn, row):
            await asyncio.Event().wait()

    monkeypatch.setattr(shown, "CLOSE_S", 0.05)
    hooks = Hanging(text("a"))
    await store.submit(KEY, request())
    end = await runner_of(hooks).run(KEY.run_id)
    assert list(end.rows) == [1]
    assert hooks.calls[-1] == "trace_flush"
