"""Workers are stopped and started again under load, one after the other or at random moments."""

import asyncio
import random
from functools import partial

import pytest

from chaos.client import Answer
from stack.process import Service
from tests.support.draining import LONG_LEASE, exited, ready, started, stranded
from tests.support.scene import Scene, scene
from tests.support.waiting import let_pass, wait_until


def is_ready(service: Service) -> bool:
    return "worker ready" in service.log(since_start=True)


@pytest.mark.timeout(180)
async def test_twelve_sigterms_at_random_moments_strand_nothing(tmp_path):
    chance = random.Random(7)
    async with scene(tmp_path, workers=4, env=LONG_LEASE | {"TURNWIRE_MAX_JOBS": "10"}) as view:
        turns: list[Answer] = []
        load = asyncio.create_task(keep_asking(view, turns, 0.01))
        for round_ in range(6):
            pair = [view.stack.worker[(round_ % 2) * 2 + place] for place in range(2)]
            for service in pair:
                await wait_until(partial(is_ready, service), f"{service.name} is ready")
                await let_pass(chance.random() * 0.05)
                service.terminate()
            for service in pair:
                await exited(service, 8)
            assert await stranded(view) == []
            for service in pair:
                service.start()
        load.cancel()
        await view.ended(*turns)
        await view.nothing_left()
        assert len(turns) > 12  # more than there were signals
        for answer in turns:
            assert await view.status(answer) == "completed"
            assert await view.crashes(answer) == 0


async def keep_asking(view: Scene, turns: list[Answer], pause_s: float) -> None:
    while True:
        answer = view.turn(events=5, pace_ms=20)
        await view.submit(answer)
        turns.append(answer)
        await let_pass(pause_s)


async def test_a_rolling_restart_of_all_workers_costs_no_turn_and_no_connection(tmp_path):
    async with scene(tmp_path, workers=3, env=LONG_LEASE) as view:
        turns = [view.turn(events=100, pace_ms=25) for _ in range(15)]
        readers = [view.ask(answer) for answer in turns]
        await wait_until(lambda: started(turns), "all turns run")
        for service in view.stack.worker:
            service.terminate()
            await exited(service, 3)
            service.start()
            await ready(service)
        await asyncio.gather(*readers)
        await view.check(*turns)
        assert {await view.crashes(answer) for answer in turns} == {0}
