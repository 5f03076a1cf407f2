"""Many workers die: one every two seconds, or all but one at once.

The long and varied form is `python3 dev.py chaos`.
"""

import asyncio
import random

import pytest

from chaos.load import Load
from chaos.monkey import Monkey
from chaos.reconcile import reconcile
from tests.support.scene import open_gate, scene
from tests.support.waiting import let_pass

SESSIONS, TURNS = 14, 4
EVERY_S = 2.0


@pytest.mark.timeout(180)
async def test_a_storm_of_turns_outlives_its_workers(tmp_path):
    chance = random.Random(11)
    async with scene(tmp_path, workers=3, env={"TURNWIRE_MAX_ATTEMPTS": "50"}) as view:
        assert view.stack.redis is not None
        load = Load(view.client, chance, storm_shape)
        monkey = Monkey([view.stack], view.stack.redis, view.redis, chance, lease_s=1.0, strikes=["kill_worker"])
        killing = asyncio.create_task(keep_killing(monkey))
        for _ in range(SESSIONS):
            load.start_session(TURNS)
            await let_pass(0.2)
        violations = await load.over(20)
        killing.cancel()
        violations += [text async for text in reconcile(view.client, view.redis, load.answers, view.ledger)]
        assert not violations, "\n".join(violations)
        assert len(load.answers) == SESSIONS * TURNS
        assert sum(bool(answer.metadata["stream"]) for answer in load.answers) > SESSIONS
        assert {answer.connections for answer in load.answers} == {1}  # clients noticed nothing except a delay


async def test_all_workers_but_one_die_at_once(tmp_path):
    """They are neighbours in the ring, so most of those who watch them are dead, too. The lease is too long to help."""
    async with scene(tmp_path, env={"TURNWIRE_LEASE_MS": "60000"}) as view:
        gate = view.gate_of_each_attempt()
        answers = [view.turn(gate={"3": str(gate)}) for _ in range(4)]
        survivor = view.stack.worker[0]
        survivor.pause()
        readers = [view.ask(answer) for answer in answers]
        victims = [view.worker(f"victim{number}", TURNWIRE_MAX_JOBS="1").start() for number in range(len(answers))]
        for answer in answers:
            await view.called(answer, "produce")
        survivor.resume()
        open_gate(gate, 2)
        for victim in victims:
            victim.kill()
        await asyncio.wait_for(asyncio.gather(*readers), 15)
        await view.check(*answers)
        assert survivor.running
        assert {answer.connections for answer in answers} == {1}


def storm_shape(chance: random.Random) -> dict[str, object]:
    """Return the metadata of a turn. Half of the turns have a stream step, after which their producers run on."""
    stream = chance.random() < 0.5
    return {"events": 10, "pace_ms": chance.choice([5, 50]), "stream": stream, "after_ms": 200 if stream else 0}


async def keep_killing(monkey: Monkey) -> None:
    while True:
        await let_pass(EVERY_S)
        await monkey.kill_worker()
