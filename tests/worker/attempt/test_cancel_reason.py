"""The reason of a cancel is part of the error message, also if a worker runs the turn."""

import asyncio

import pytest

from tests.support.product import HOLD, Scripted
from tests.support.turns import KEY, log_of, request
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.replies import Cancelled, CancelVerdict

RUN_ID = KEY.run_id


@pytest.mark.parametrize(
    ("reasons", "message"),
    [
        (["too expensive"], "the turn was cancelled: too expensive"),
        ([""], "the turn was cancelled"),
        (["first", "second"], "the turn was cancelled: first"),
    ],
)
async def test_a_running_turn_says_why_it_was_cancelled(store, runner_of, reasons, message):
    product = Scripted(HOLD)
    runner = runner_of(product)
    await store.submit(KEY, request())
    run = asyncio.create_task(runner.run(RUN_ID))
    await product.holding.wait()
    for reason in reasons:
        assert await store.cancel(KEY, reason) == Cancelled(CancelVerdict.REQUESTED)
    runner.look_if_cancelled(RUN_ID)
    await run
    record = await store.record(KEY)
    assert (record.status, record.error.message) == (TurnState.CANCELLED, message)
    assert (await log_of(store))[-1][2]["message"] == message
