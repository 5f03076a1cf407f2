"""A resumed producer yields its early events again: equal ones are not doubled, the first other one rewinds the log."""

from tests.support.agent import Agent
from tests.support.product import text
from tests.support.turns import KEY, log_of, seqs_of, types_of


async def test_early_events_that_stand_are_not_doubled(store, twice):
    async def script(turn, agent):
        yield text("thinking ")
        await turn.step("search", agent.does("search"))
        await turn.step("ask", agent.does("ask", fails=1))
        yield text("done")

    _, second = await twice(Agent(script))
    assert second.final_text == "thinking done"
    assert types_of(await log_of(store)) == [
        "session.run.started", "message.part.updated", "session.run.resumed", "message.part.updated", "result",
        "session.run.completed",
    ]  # fmt: skip


async def test_on_event_hears_that_the_log_was_rewound(store, twice):
    seen = []

    class Watching(Agent):
        async def on_event(self, turn, event):
            seen.append((event.type, event.data))

    async def script(turn, agent):
        yield text(f"attempt {turn.attempt}")
        await turn.step("search", agent.does("search"))
        await turn.step("ask", agent.does("ask", fails=1))

    await twice(Watching(script))
    resumed = [data for _, event_type, data in await log_of(store) if event_type == "session.run.resumed"]
    assert [data for event_type, data in seen if event_type == "session.run.resumed"][-1] == resumed[-1]
    assert resumed[-1]["reason"] == "diverged"


async def test_the_log_is_rewound_at_the_first_difference(store, twice):
    async def script(turn, agent):
        yield text("same ")
        yield text(f"attempt {turn.attempt} ")
        yield text("more ")
        await turn.step("search", agent.does("search"))
        await turn.step("ask", agent.does("ask", fails=1))
        yield text("done")

    _, second = await twice(Agent(script))
    assert second.final_text == "same attempt 2 more done"
    log = await log_of(store)
    assert seqs_of(log) == list(range(len(log)))
    assert [data["delta"] for _, event_type, data in log if event_type == "message.part.updated"] == [
        "same ", "attempt 2 ", "more ", "done",
    ]  # fmt: skip
    assert [data for _, event_type, data in log if event_type == "session.run.resumed"] == [
        {"attempt": 3, "after": "1-1", "reason": "diverged"}
    ]
    assert second.attempt == 3
    assert await store.redis.exists(KEY.lease) == 0


async def test_events_that_are_not_yielded_again_are_taken_back_at_the_end(store, twice):
    async def script(turn, agent):
        yield text("one ")
        if turn.attempt == 1:
            yield text("two ")
        await turn.step("search", agent.does("search"))
        if turn.attempt == 1:
            raise RuntimeError("no")

    _, second = await twice(Agent(script))
    assert second.final_text == "one "
    deltas = [data["delta"] for _, kind, data in await log_of(store) if kind == "message.part.updated"]
    assert deltas == ["one "]
