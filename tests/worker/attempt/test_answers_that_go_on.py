"""What a dead attempt has streamed stays in the log if the hooks go on with it."""

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
        for event in turn.partial_events:
            yield event
        for number in range(len(turn.partial_events), 6):
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
