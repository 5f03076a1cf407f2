"""A worker or an API dies, or loses a reply, at a write of a step, a stream, a rewind or the outbox.

No completed step runs twice, no stored answer is asked for again, there is one terminal event, seq is dense, and every
reader sees the same log.
"""

from functools import partial

import pytest

from chaos import verify
from chaos.client import Answer
from tests.support.scene import Scene
from tests.support.stepped import STEPS, check, open_when_each_has_one
from tests.support.struck import MODES, all_accepted, faulty_workers, until_all_struck
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def product() -> dict[str, str]:
    return {"TURNWIRE_HOOKS": "tests.support.stepping:hooks", "TURNWIRE_PERSIST_TRIES": "1"}


@pytest.mark.parametrize("write", ["checkpoint.first:1", "checkpoint.answer:1", "checkpoint.last:1"])
async def test_a_fault_at_a_steps_checkpoint_repeats_no_step_that_stands(view: Scene, write: str):
    gate = view.gate()
    turns = [view.turn(start_gates={"1": str(gate)}) for _ in MODES]
    view.stack.worker[0].pause()
    readers = [view.ask(answer) for answer in turns]
    await wait_until(lambda: all_accepted(view, turns), "the turns stand in the queue")
    async with faulty_workers(view, write, TURNWIRE_MAX_JOBS="1") as services:
        await open_when_each_has_one(view, turns, gate)
        await until_all_struck(services)
        view.stack.worker[0].resume()
        for reader in readers:
            await reader
    intent = write.removeprefix("checkpoint.").removesuffix(":1")
    for answer in turns:
        await check(view, answer)
    # Twice: its worker was killed before the checkpoint was written.
    assert sorted(view.count(answer)[STEPS[intent]] for answer in turns) == [1, 1, 2]
    await view.nothing_left()


async def test_a_fault_at_a_rewind_shows_nobody_two_versions_and_asks_no_model_again(view: Scene):
    """Attempt 1 stands still with its answer stored. The attempt that takes over begins with other words."""
    never, gate = view.gate(), view.gate()
    turns = [view.turn(differs=True, first_gate=str(never), start_gates={"2": str(gate)}) for _ in MODES]
    readers = [view.ask(answer) for answer in turns]
    for answer in turns:
        await wait_until(partial(stored_answer, view, answer), "its answer is stored")
    async with faulty_workers(view, "rewind:1", TURNWIRE_MAX_JOBS="1") as services:
        await open_when_each_has_one(view, turns, gate, attempt=2)
        await until_all_struck(services)
        view.stack.worker[0].resume()
        for reader in readers:
            await reader
    reasons = []
    for answer in turns:
        await check(view, answer)
        assert view.count(answer)["answer"] == view.count(answer)["first"] == view.count(answer)["last"] == 1
        reasons.append([line["data"]["reason"] for line in answer.lines if line["type"] == "session.run.resumed"])
        assert set(reasons[-1]) == {"lease_expired", "diverged"}
    assert ["lease_expired", "diverged"] in reasons  # a lost reply ended no attempt
    await view.nothing_left()


async def stored_answer(view: Scene, answer: Answer) -> bool:
    steps = await verify.steps_of(view.redis, answer.run_id)
    return steps.get("answer", {}).get("status") == "completed"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("write", ["enqueue", "persisted", "checkpoint.persist_assistant_message"])
async def test_a_fault_around_the_outbox_loses_no_message(view: Scene, write: str, mode: str):
    """At first the product cannot store the answer. The turn ends, and a job of its own stores the answer later."""
    answer = view.turn(persist_fails=0 if write.startswith("checkpoint") else 1)
    view.stack.worker[0].pause()
    reader = view.ask(answer)
    await wait_until(lambda: all_accepted(view, [answer]), "the turn stands in the queue")
    service = view.worker(f"{write}-{mode}", "tests.support.crashing_worker", CRASH_AT=f"{write}:1:{mode}").start()
    await until_all_struck([service])
    view.stack.worker[0].resume()
    await reader

    async def stored() -> bool:
        return (await view.client.record(answer))["persist"] == "done"

    await wait_until(stored, "the answer is stored")
    await check(view, answer, outbox=True)
    assert len({call["message_id"] for call in view.calls(answer, "persist_assistant_message")}) == 1
    assert view.count(answer)["answer"] == 1
    await view.nothing_left()
    service.kill()
