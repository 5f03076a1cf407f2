"""The `result` that Turnwire adds: an answer that was streamed to its end does not fail at its own length."""

import msgspec
import pytest

from tests.support.product import Scripted, text
from tests.support.turns import KEY, OTHER_WORKER, log_of, request, types_of
from turnwire import ChatTurnHooks
from turnwire.shared.events import PART_UPDATED, RESULT
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.turns import TurnStore

PART = 200
LENGTH = 4  # parts


@pytest.fixture
def run(redis, settings, runner_of):
    """Runs the turn within these limits; returns its record and its log."""

    async def run(product, worker=OTHER_WORKER, **limits):
        store = TurnStore(redis, msgspec.structs.replace(settings, **limits))
        await store.submit(KEY, request())
        await runner_of(product, worker, store=store).run(KEY.run_id)
        return await store.record(KEY), await log_of(store)

    return run


@pytest.mark.parametrize(
    "limits",
    [
        {"max_event_bytes": 2 * PART},  # it is longer than any of its parts
        {"max_log_events": 1 + LENGTH},  # the log is full
        {"max_log_bytes": LENGTH * (PART + 100)},  # there is no room for it any more
    ],
    ids=str,
)
async def test_it_is_added_whatever_the_parts_left_of_the_limits(run, limits):
    record, log = await run(Scripted(*[text("x" * PART)] * LENGTH), **limits)
    assert (record.status, record.final_text) == (TurnState.COMPLETED, "x" * PART * LENGTH)
    assert types_of(log)[1:] == [PART_UPDATED] * LENGTH + [RESULT, "session.run.completed"]
    assert log[-2][2] == {"finalText": "x" * PART * LENGTH}


async def test_it_is_added_after_a_divergence_too(run):
    class Shorter(ChatTurnHooks):
        """Yields less the second time."""

        async def produce(self, turn):
            for letter in "abc"[: 3 if turn.attempt == 1 else 1]:
                yield text(letter * PART)
            await turn.step("save", lambda: None)
            if turn.attempt == 1:
                raise RuntimeError("not now")

    limits = {"max_log_bytes": 3 * (PART + 100)}
    first, _ = await run(Shorter(), **limits)
    assert first.status is TurnState.FAILED
    record, log = await run(Shorter(), **limits)
    assert (record.status, record.final_text) == (TurnState.COMPLETED, "a" * PART)
    assert types_of(log)[-3:] == ["session.run.resumed", RESULT, "session.run.completed"]


async def test_a_final_text_longer_than_a_whole_log_is_refused(run):
    class Huge:
        def __init__(self, turn):
            self.stream = Scripted(text("a")).produce(turn)

        def final_text(self):
            return "x" * 1000

    class Product(ChatTurnHooks):
        def produce(self, turn):
            return Huge(turn)

    record, _ = await run(Product(), max_log_bytes=900)
    assert (record.status, record.error.code) == (TurnState.FAILED, "log_too_large")


async def test_a_producers_own_result_is_an_event_like_any_other(run):
    result = {"type": RESULT, "data": {"finalText": "x" * PART}}
    record, _ = await run(Scripted(result), max_event_bytes=PART)
    assert record.error.code == "event_too_large"
