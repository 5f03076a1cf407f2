"""What a dead attempt has streamed stays in the log if the hooks go on with it."""

from functools import partial

from tests.support.turns import KEY, OTHER_WORKER, append, delta, submit_and_claim
from tests.testing.products import say
from turnwire import ChatTurnHooks
from turnwire.shared.model import Claimed
from turnwire.testing import crash_at_each_write, run_turn
from turnwire.worker.products import Products


class GoesOn(ChatTurnHooks):
    """Counts to five, and goes on where the attempt before it broke off."""

    continues_answers = True
    counted: list[int]

    def __init__(self) -> None:
        self.counted = []

    async def produce(self, turn):
        begun = turn.partial_events
        for event in begun:
            yield event
        for number in range(len(begun), 6):
            self.counted.append(number)
            yield say(f"{number} ")


async def test_a_crash_at_any_write_changes_nothing_of_the_answer():
    report = await crash_at_each_write(GoesOn, "count")
    assert report.problems == [], str(report)
    assert {run.run.final_text for run in report.runs if run.run is not None} == {"0 1 2 3 4 5 "}


async def test_the_client_drops_nothing_and_nothing_is_made_twice():
    hooks = GoesOn()
    run = await run_turn(hooks, "count", crash_after="append")
    resumed = next(event for event in run.events if event.type == "session.run.resumed")
    shown = [event for event in run.events if event.type == "message.part.updated"]
    before = [event for event in run.events if event.id.startswith("1-")]
    assert len(before) > 1, "the worker died after it had appended something"
    assert resumed.data["after"] == before[-1].id
    assert len(shown) == 6
    assert hooks.counted[-1] == 5


class Plans(ChatTurnHooks):
    """Answers in two streams, with an event before each. Each stream goes on where it broke off."""

    continues_answers = True

    def __init__(self) -> None:
        self.said: list[str] = []

    async def produce(self, turn):
        for part in ("plan", "answer"):
            yield {"type": "begins", "data": {"part": part}}
            async for event in turn.stream(part, partial(self.say, part, turn.partial_events)):
                yield event

    async def say(self, part, begun):
        for event in begun:
            yield event
        for number in range(len(begun), 4):
            self.said.append(f"{part}{number}")
            yield say(f"{part}{number} ")


async def test_each_stream_of_an_agent_goes_on_for_itself():
    report = await crash_at_each_write(Plans, "go")
    assert report.problems == [], str(report)
    hooks = Plans()
    run = await run_turn(hooks, "go", crash_after=["append", "checkpoint.plan"])
    assert run.final_text == "".join(f"{part}{number} " for part in ("plan", "answer") for number in range(4))
    assert run.attempts == 3


async def test_the_tail_of_the_log_stays_for_a_worker_that_keeps_it(store, redis):
    first = await submit_and_claim(store)
    await append(store, first, 1, delta("a"), delta("b"))
    for keeps_tail, left in ((True, [delta("a"), delta("b")]), (False, [])):
        await redis.delete(KEY.lease)
        claimed = await store.claim(KEY, OTHER_WORKER, company=1, keeps_tail=keeps_tail)
        assert isinstance(claimed, Claimed)
        assert claimed.cut[:2] == [delta("a"), delta("b")]
        log = [entry.event for entry in await store.read_all(KEY)]
        assert [event for event in log if event in (delta("a"), delta("b"))] == left
    assert (await store.record(KEY)).attempt == 3


def test_only_a_worker_whose_hooks_all_go_on_keeps_it():
    assert Products({None: GoesOn()}).continue_answers
    assert not Products({None: GoesOn(), "other": ChatTurnHooks()}).continue_answers
