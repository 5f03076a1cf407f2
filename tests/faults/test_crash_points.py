"""A worker dies, or loses a reply, at each of its writes. The client's stream stays whole, and nothing is done twice.

Each session has two turns, so that waking the next turn is among the writes. The other worker stands still until the
fault has struck, so that the faulty one gets the turn.
"""

import pytest

from tests.support.scene import Scene, open_gate
from tests.support.struck import MODES, all_accepted, faulty_workers, until_all_struck
from tests.support.waiting import wait_until

WRITES = [
    "take:1",
    "claim:1",
    "append:1",
    "append:2",
    "append:4",
    "checkpoint.turn:1",
    "checkpoint.transform_final_text:1",
    "checkpoint.persist_assistant_message:1",
    "checkpoint.on_turn_complete:1",
    "settle:1",
    "enqueue:1",
    "finish.ended:1",
    "renew:1",
    "extend:1",
]


@pytest.mark.parametrize("write", WRITES)
async def test_a_fault_at_this_write_neither_shows_nor_repeats_anything(view: Scene, write: str):
    first = [view.turn(pace_ms=60 if write in {"renew:1", "extend:1"} else 10) for _ in MODES]
    second = [view.turn(answer.session, 1, events=3) for answer in first]
    view.stack.worker[0].pause()
    readers = [view.ask(answer) for answer in first]
    await wait_until(lambda: all_accepted(view, first), "the first turns stand in the queue")
    readers += [view.ask(answer) for answer in second]
    await wait_until(lambda: all_accepted(view, second), "the second turns stand in the queue")
    async with faulty_workers(view, write, survivor_last=True, TURNWIRE_MAX_JOBS="1") as services:
        await until_all_struck(services)
        view.stack.worker[0].resume()
        for reader in readers:
            await reader
        await view.check(*first, *second)
        assert [service.running for service in services] == [False, False, True]  # a lost reply ends no worker
    assert all(answer.connections == 1 for answer in first + second)


@pytest.mark.parametrize("write", ["handover:1", "finish.again:1"])
async def test_a_fault_at_this_write_of_a_draining_worker_loses_no_turn(view: Scene, write: str):
    gate = view.gate_of_each_attempt()
    turns = [view.turn(gate={"3": str(gate)}) for _ in MODES]
    view.stack.worker[0].pause()
    readers = [view.ask(answer) for answer in turns]
    await wait_until(lambda: all_accepted(view, turns), "the turns stand in the queue")
    async with faulty_workers(view, write, TURNWIRE_MAX_JOBS="1") as services:
        for answer in turns:
            await view.called(answer, "produce")
        for attempt in (2, 3):
            open_gate(gate, attempt)
        for service in services:
            service.terminate()
        await until_all_struck(services)
        view.stack.worker[0].resume()
        for reader in readers:
            await reader
        await view.check(*turns)
        await wait_until(lambda: not any(service.running for service in services), "the end of all three")
    assert [service.exit_code for service in services] == [-9, -9, 0]
    assert all(answer.connections == 1 for answer in turns)


@pytest.mark.parametrize("mode", MODES)
async def test_a_fault_while_one_worker_buries_another_loses_no_turn(view: Scene, mode: str):
    gate = view.gate_of_each_attempt()
    answer = view.turn(gate={"3": str(gate)})
    view.stack.worker[0].pause()
    reader = view.ask(answer)
    victim = view.worker("victim").start()
    await view.called(answer, "produce")
    witness = view.worker("witness", "tests.support.crashing_worker", CRASH_AT=f"bury:1:{mode}").start()
    await wait_until(lambda: "worker ready" in witness.log(), "a witness")
    for attempt in (2, 3):
        open_gate(gate, attempt)
    victim.kill()
    await until_all_struck([witness])
    view.stack.worker[0].resume()
    await reader
    await view.check(answer)
    assert answer.connections == 1
