"""A cancel in the middle of a stream, through the public names of the kit."""

import asyncio
from typing import Any

import pytest

from tests.testing.products import Shop, code_of, say
from turnwire import ChatTurnHooks, Turn
from turnwire.testing import CancelNeverCame, ManualClock, WrongUse, crash_at_each_write, run_turn


class Talks(ChatTurnHooks):
    """Yields five words, and notes what ends it. After `waits_after` words it waits for ever; None: it never waits."""

    def __init__(self, waits_after: int | None = None) -> None:
        self.waits_after = waits_after
        self.ended_by: list[str] = []
        self.persisted: list[str] = []

    async def produce(self, turn: Turn):
        try:
            for number, word in enumerate(("one", " two", " three", " four", " five")):
                if number == self.waits_after:
                    await asyncio.Event().wait()
                yield say(word)
        except BaseException as error:
            self.ended_by.append(type(error).__name__)
            raise

    async def persist_assistant_message(self, turn: Turn, final_text: str) -> None:
        self.persisted.append(final_text)


class InThread(Talks):
    def produce(self, turn: Turn):
        for word in ("one", " two", " three"):
            yield say(word)


class Answers(Talks):
    """Returns a Producer, whose final text nobody asks for after a cancel."""

    async def produce(self, turn: Turn) -> Any:
        self.stream = super().produce(turn)
        return self

    def final_text(self) -> str:
        return "the whole answer"


def types_of(run: Any) -> list[str]:
    return [event.type for event in run.events]


@pytest.mark.parametrize("after", [0, 1, 3, 5])
@pytest.mark.parametrize("waits", [False, True])
async def test_a_cancel_comes_after_so_many_events_with_its_reason(after, waits):
    talks = Talks(after if waits else None)
    run = await run_turn(talks, "count", cancel_after=after, cancel_reason="the user pressed stop")
    assert (run.status, code_of(run), run.attempts) == ("cancelled", "cancelled", 1)
    assert run.error is not None
    assert run.error.message == "the turn was cancelled: the user pressed stop"
    assert types_of(run) == ["session.run.started", *["message.part.updated"] * after, "session.run.failed"]
    assert run.streamed_text == "".join(["one", " two", " three", " four", " five"][:after])
    assert run.log_flaws == []
    assert [row.outcome for row in run.rows] == ["cancelled"]


async def test_the_partial_text_of_a_cancelled_turn_is_not_persisted():
    talks = Talks()
    run = await run_turn(talks, "count", cancel_after=2)
    assert (run.streamed_text, run.final_text, run.persist, run.persisted) == ("one two", None, "none", None)
    assert (run.persist_calls, talks.persisted) == ([], [])
    assert run.error is not None
    assert run.error.message == "the turn was cancelled"


async def test_a_producer_that_waits_gets_the_cancellation_where_it_waits():
    talks = Talks(waits_after=2)
    await run_turn(talks, "count", cancel_after=2)
    assert talks.ended_by == ["CancelledError"]


async def test_a_producer_that_never_waits_is_closed_at_its_next_event():
    talks = Talks()
    await run_turn(talks, "count", cancel_after=2)
    assert talks.ended_by == ["GeneratorExit"]


@pytest.mark.parametrize("product", [InThread, Answers])
async def test_every_kind_of_producer_can_be_cancelled(product):
    run = await run_turn(product(), "count", cancel_after=2)
    assert (run.status, run.streamed_text, run.final_text) == ("cancelled", "one two", None)


async def test_a_turn_sees_that_it_is_cancelled():
    seen: list[bool] = []

    class Looks(Talks):
        async def produce(self, turn: Turn):
            seen.append(turn.cancelled)
            try:
                yield say("one")
                await asyncio.Event().wait()
            finally:
                seen.append(turn.cancelled)

    assert (await run_turn(Looks(), "count", cancel_after=1)).status == "cancelled"
    assert seen == [False, True]


async def test_a_cancel_may_come_in_the_attempt_after_a_crash():
    run = await run_turn(Talks(waits_after=3), "count", crash_after="claim", cancel_after=3)
    assert (run.status, run.attempts, run.streamed_text) == ("cancelled", 2, "one two three")


async def test_a_cancelled_turn_can_be_asked_again():
    talks = Talks()
    run = await run_turn(talks, "count", cancel_after=3)
    run = await run.retry()
    assert (run.status, run.final_text) == ("completed", "one two three four five")
    assert talks.persisted == ["one two three four five"]


async def test_the_next_turn_of_the_session_is_not_cancelled():
    run = await run_turn(Talks(), "count", cancel_after=3)
    assert (await run.ask("count again")).status == "completed"


async def test_a_turn_that_waits_for_a_signal_can_be_cancelled():
    run = await run_turn(Shop(), "socks")
    run = await run.cancel("no longer needed")
    assert (run.status, run.streamed_text, run.persist) == ("cancelled", "found ", "none")
    assert run.error is not None
    assert run.error.message == "the turn was cancelled: no longer needed"
    assert (await run.cancel("again")).error == run.error


async def test_a_cancel_changes_nothing_if_the_turn_has_completed():
    run = await run_turn(Talks(), "count")
    assert (await run.cancel()).status == "completed"


async def test_a_cancel_that_would_come_too_late_is_an_error():
    with pytest.raises(CancelNeverCame, match="fewer than 6 events; the turn is completed"):
        await run_turn(Talks(), "count", cancel_after=6)
    assert issubclass(CancelNeverCame, WrongUse)


async def test_a_cancel_of_an_attempt_whose_lease_has_ended_ends_the_turn():
    clock = ManualClock()

    class Blocks(Talks):
        async def produce(self, turn: Turn):
            yield say("one")
            clock.advance(60)
            yield say(" two")

    run = await run_turn(Blocks(), "count", clock=clock, cancel_after=2)
    assert run.status == "cancelled"


async def test_a_cancelled_turn_ends_the_same_way_after_a_crash_at_any_write():
    report = await crash_at_each_write(Talks(waits_after=2), "count", cancel_after=2, cancel_reason="stop")
    assert report.problems == [], str(report)
    assert {run.run.status for run in report.runs if run.run is not None} == {"cancelled"}
