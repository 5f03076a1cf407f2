"""turn.partial_text: what the dead attempt had streamed after its last completed step."""

import asyncio

import pytest

from tests.support.agent import Agent, Model
from tests.support.faults import one_lost_reply
from tests.support.product import HOLD, Scripted, text
from tests.support.turns import (
    KEY,
    OTHER_WORKER,
    append,
    claim,
    delta,
    log_of,
    lose_lease,
    request,
    step,
    submit_and_claim,
    take_over,
)
from turnwire.worker.attempt.attempt import Stop
from turnwire.worker.attempt.outcome import Done

PART = b'{"type":"message.part.updated","data":{"part":{"type":"%s","id":"%s"},"delta":"%s"}}'


@pytest.fixture
def seen(store, runner_of):
    """Runs the turn to its end; the partial text that its producer was given."""

    async def run():
        product = Scripted(text("x"))
        # A worker that runs nothing else takes any turn, also one during which two workers have died.
        assert isinstance(await runner_of(product, OTHER_WORKER).run(KEY.run_id, company=1), Done)
        return product.turns[0].partial_text

    return run


async def test_a_first_attempt_has_none(store, seen):
    await store.submit(KEY, request())
    assert await seen() == ""


async def test_a_takeover_gets_the_text_that_the_dead_attempt_had_streamed(store, seen):
    dead = await submit_and_claim(store)
    parts = [PART % (b"text", b"a", b"one "), PART % (b"reasoning", b"r", b"hm"), PART % (b"text", b"a", b"two")]
    await append(store, dead, 1, *parts, b'{"type":"tool.call","data":{}}')
    await lose_lease(store)
    assert await seen() == "one two"
    assert [entry_id for entry_id, _, _ in await log_of(store)][:3] == ["1-0", "2-1", "2-2"]  # and it is gone


async def test_what_a_completed_step_covers_is_no_part_of_it(store, seen):
    dead = await submit_and_claim(store)
    await append(store, dead, 1, delta("kept "), delta("covered "))
    await store.checkpoint(dead, step(0, "1-2", intent="persist_assistant_message"))
    await append(store, dead, 3, delta("cut "), delta("off"))
    await lose_lease(store)
    assert await seen() == "cut off"


async def test_it_is_that_of_the_attempt_before_alone(store, seen):
    first = await submit_and_claim(store)
    await append(store, first, 1, delta("first"))
    second = await take_over(store)
    await append(store, second, second.next_seq, delta("second"))
    await lose_lease(store)
    assert await seen() == "second"


async def test_a_whole_text_or_a_result_replaces_as_it_does_in_an_answer(store, seen):
    dead = await submit_and_claim(store)
    await append(store, dead, 1, delta("draft"), b'{"type":"result","data":{"finalText":"final"}}')
    await lose_lease(store)
    assert await seen() == "final"


async def test_a_long_text_comes_whole(store, seen):
    """The log is cut in pages."""
    dead = await submit_and_claim(store)
    for seq in range(1, 1201, 400):
        await append(store, dead, seq, *[delta(f"{number} ") for number in range(seq, seq + 400)])
    await lose_lease(store)
    assert await seen() == "".join(f"{number} " for number in range(1, 1201))


async def test_a_handover_gives_it_too(store, runner_of, seen):
    product = Scripted(text("half "), HOLD)
    runner = runner_of(product)
    await store.submit(KEY, request())
    run = asyncio.create_task(runner.run(KEY.run_id))
    await product.holding.wait()
    await runner.attempts[KEY.run_id].log.flush()
    runner.attempts[KEY.run_id].stop(Stop.DRAIN)
    await run
    assert await seen() == "half "


async def test_a_turn_that_is_asked_again_starts_without(store, twice):
    agents = [Agent(_noting), Agent(_noting)]
    await twice(*agents)
    assert [agent.ran for agent in agents] == [[""], [""]]


async def _noting(turn, agent):
    agent.ran.append(turn.partial_text)
    yield text("half")
    raise RuntimeError("no")


async def test_a_producer_may_go_on_where_the_text_broke_off(store, runner_of):
    """The model is asked to continue the stream that was cut, and a reader sees the whole answer once."""

    async def script(turn, agent):
        if turn.partial_text:
            yield text(turn.partial_text)
        async for event in turn.stream("answer", Model(text("two"))):
            yield event

    dead = await submit_and_claim(store)
    await append(store, dead, 1, delta("one "))
    await lose_lease(store)
    await runner_of(Agent(script), OTHER_WORKER).run(KEY.run_id)
    assert (await store.record(KEY)).final_text == "one two"


@pytest.mark.parametrize("resent", [False, True])
async def test_it_is_empty_if_the_answer_to_the_claim_was_lost(store, redis, seen, resent):
    """The claim cut the log, and said so to nobody. The turn itself goes on as ever."""
    dead = await submit_and_claim(store)
    await append(store, dead, 1, delta("lost"))
    await lose_lease(store)
    with one_lost_reply(redis, resent=resent):
        assert await seen() == ""
    assert (await store.record(KEY)).attempt == 2


async def test_a_claim_that_is_repeated_cuts_nothing_more(store):
    dead = await submit_and_claim(store)
    await append(store, dead, 1, delta("half"))
    taken = await take_over(store)
    assert taken.cut == [delta("half")]
    await append(store, taken, taken.next_seq, delta("new"))
    again = await claim(store, worker=OTHER_WORKER)
    assert (again.attempt, again.cut) == (2, [])
    assert [data.get("delta") for _, _, data in await log_of(store)][-1] == "new"
