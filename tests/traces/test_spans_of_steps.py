"""The spans of a turn's steps and attempts, in the test's own process."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.traces.memory import Kept, id_of, parent_of, traced
from turnwire import ChatTurnHooks, ModelCall
from turnwire.testing import run_turn


@pytest.fixture
def kept() -> Iterator[Kept]:
    with traced() as kept:
        yield kept


class Parallel(ChatTurnHooks):
    """Takes two steps side by side. In each, the product's own span shows whose part it is."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.traceparents: list[str | None] = []

    async def produce(self, turn):
        self.traceparents.append(turn.traceparent)

        async def work(name):
            with self.kept.product.start_as_current_span(f"in {name}"):
                await asyncio.sleep(0)
            return name

        await asyncio.gather(*(turn.step(name, lambda name=name: work(name)) for name in "ab"))
        with self.kept.product.start_as_current_span("after"):
            yield {"type": "result", "data": {"finalText": "x"}}


class InTurn(ChatTurnHooks):
    """Takes two steps one after the other."""

    async def produce(self, turn):
        for name in "ab":
            await turn.step(name, lambda: "done")
        yield {"type": "result", "data": {"finalText": "x"}}


async def test_spans_of_a_product_are_parts_of_the_step_that_runs(kept):
    hooks = Parallel(kept)
    run = await run_turn(hooks, "hi")
    assert run.status == "completed"
    turn = kept.one("turn")
    for name in "ab":
        assert parent_of(kept.one(f"in {name}")) == id_of(kept.one(f"step {name}"))
        assert parent_of(kept.one(f"step {name}")) == id_of(turn)
        assert kept.attributes(f"step {name}")["turnwire.step.position"] == str("ab".index(name))
    assert parent_of(kept.one("after")) == id_of(turn)
    assert hooks.traceparents == [f"00-{turn.context.trace_id:032x}-{id_of(turn):016x}-03"]


async def test_a_step_that_is_taken_from_its_checkpoint_has_no_span(kept):
    run = await run_turn(InTurn, "hi", crash_after="checkpoint.a")
    assert run.status == "completed"
    first, second = kept.named("turn")
    assert len(kept.named("step a")) == 1
    assert [dict(span.attributes)["turnwire.outcome"] for span in (first, second)] == ["crashed", "completed"]
    assert [link.context.span_id for link in second.links] == [id_of(first)]
    assert second.context.trace_id == first.context.trace_id


async def test_each_run_of_a_step_has_a_span_and_a_failed_one_says_why(kept):
    class Retried(ChatTurnHooks):
        async def produce(self, turn):
            runs = []

            def work():
                runs.append(1)
                if len(runs) == 1:
                    raise LookupError("PLANTED")
                return 1

            await turn.step("fetch", work, retries=1, backoff_s=0)
            yield {"type": "result", "data": {"finalText": "x"}}

    await run_turn(Retried(), "PLANTED")
    first, second = kept.named("step fetch")
    assert dict(first.attributes)["error.type"] == "LookupError"
    assert "error.type" not in second.attributes
    assert "PLANTED" not in "".join(span.to_json() for span in kept.spans)


async def test_a_turn_that_kills_its_workers_shows_every_attempt(kept):
    run = await run_turn(InTurn, "hi", max_attempts=2, crash_before=[3, 6])
    outcomes = [(dict(span.attributes)["turnwire.outcome"], span.links) for span in kept.named("turn")]
    assert run.status == "failed"
    assert [outcome for outcome, _ in outcomes] == ["crashed", "crashed", "failed"]
    ids = [id_of(span) for span in kept.named("turn")]
    assert [link.context.span_id for _, links in outcomes for link in links] == ids[:-1]


async def test_what_a_turn_has_used_stands_in_its_span(kept):
    class Counted(ChatTurnHooks):
        async def produce(self, turn):
            turn.usage.add(ModelCall("tiny", 7, 3))
            yield {"type": "result", "data": {"finalText": "x"}}

    run = await run_turn(Counted(), "hi", project="p", tenant="acme", session="s")
    assert (
        kept.attributes("turn").items()
        >= {
            "turnwire.run_id": run.record.run_id,
            "turnwire.tenant": "acme",
            "turnwire.project": "p",
            "turnwire.tokens_in": 7,
            "turnwire.tokens_out": 3,
            "gen_ai.conversation.id": "s",
        }.items()
    )


async def test_a_failed_turn_s_span_has_its_code(kept):
    class Fails(ChatTurnHooks):
        async def produce(self, turn):
            yield {"type": "note", "data": {}}
            raise RuntimeError("PLANTED")

    await run_turn(Fails(), "hi")
    assert kept.attributes("turn")["error.type"] == "producer_error"
    assert not kept.one("turn").status.is_ok
