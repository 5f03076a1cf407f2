"""A turn kills its workers. The turns beside it complete, and it is given up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from chaos.client import Answer
from stack.process import Service
from tests.support.scene import Scene, scene
from tests.support.waiting import let_pass, wait_until
from turnwire.shared.keys import TurnKey

RESTART_LOOK_S = 0.05
# Dead workers are buried long before their leases end, so everybody knows how many jobs they had.
THREE = {"TURNWIRE_LEASE_MS": "5000", "TURNWIRE_MAX_ATTEMPTS": "3"}


class Supervisor:
    """Restarts every worker that ends."""

    def __init__(self) -> None:
        self.deaths = 0

    async def watch(self, view: Scene) -> None:
        while True:
            for service in view.stack.worker:
                if not service.running:
                    self.deaths += 1
                    service.start()
            await let_pass(RESTART_LOOK_S)


@asynccontextmanager
async def watched(view: Scene) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor()
    task = asyncio.create_task(supervisor.watch(view))
    try:
        yield supervisor
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def end_all_workers_twice(view: Scene, turns: Sequence[Answer], end: Callable[[Service], None]) -> None:
    """When all turns run, end all workers at once and start them again; then do the same once more."""
    for attempt in (1, 2):
        for answer in turns:
            await view.called(answer, "produce", attempt, limit_s=30)
        for service in view.stack.worker:
            end(service)
        for service in view.stack.worker:
            await asyncio.to_thread(service.wait, 20)
            service.start()


@pytest.mark.timeout(120)
async def test_sixty_neighbours_of_a_killer_complete_and_the_killer_is_given_up(tmp_path):
    async with (
        scene(tmp_path, workers=3, env=THREE) as view,
        watched(view) as supervisor,
    ):
        innocents = [view.turn(events=20, pace_ms=100) for _ in range(60)]
        killer = view.turn(die=True)
        await view.submit(*innocents[:30], killer, *innocents[30:])
        await view.ended(killer, *innocents, limit_s=90)
        assert {await view.status(answer) for answer in innocents} == {"completed"}
        record = await view.client.record(killer)
        assert (record["status"], record["error"]["code"]) == ("failed", "attempts_exhausted")
        crashes = int(await view.redis.hget(TurnKey.parse(killer.run_id).record, "crashes"))  # type: ignore[misc]
        assert 3 <= crashes <= 3 + 4, "at most four crashes in company, then those that count"
        assert supervisor.deaths == crashes, "no other turn killed a worker"
        await view.nothing_left()


@pytest.mark.timeout(120)
async def test_a_killer_that_runs_alone_costs_as_many_workers_as_it_may(tmp_path):
    async with (
        scene(tmp_path, workers=2, env=THREE) as view,
        watched(view),
    ):
        killer = view.turn(die=True)
        await view.submit(killer)
        await view.ended(killer, limit_s=60)
        assert (await view.client.record(killer))["error"]["code"] == "attempts_exhausted"
        assert view.count(killer)["produce"] == 3


@pytest.mark.timeout(120)
async def test_a_pool_that_is_killed_twice_gives_up_no_turn_and_runs_them_side_by_side(tmp_path):
    """A deployment that ends workers with SIGKILL makes all turns suspects at once, although none is at fault."""
    async with scene(tmp_path, workers=2, env=THREE | {"TURNWIRE_MAX_ATTEMPTS": "2"}) as view:
        gate = view.gate()
        turns = [view.turn(gate={"3": str(gate)}) for _ in range(40)]
        await view.submit(*turns)
        await end_all_workers_twice(view, turns, Service.kill)

        def third_attempts() -> int:
            return sum(view.count(answer)["produce"] == 3 for answer in turns)

        # How many may run together depends on how the turns were spread over the workers that died.
        await wait_until(lambda: third_attempts() >= 2, "some turns that run side by side", 60)
        gate.touch()
        await view.ended(*turns, limit_s=60)
        assert {await view.status(answer) for answer in turns} == {"completed"}
        assert {await view.crashes(answer) for answer in turns} == {2}
        await view.nothing_left()


async def test_workers_that_shut_down_properly_make_no_suspects(tmp_path):
    async with scene(tmp_path, workers=2) as view:
        gate = view.gate()
        turns = [view.turn(gate={"3": str(gate)}) for _ in range(6)]
        await view.submit(*turns)
        await end_all_workers_twice(view, turns, Service.terminate)
        gate.touch()
        await view.ended(*turns, limit_s=30)
        assert {await view.status(answer) for answer in turns} == {"completed"}
        assert {await view.crashes(answer) for answer in turns} == {0}
        await view.nothing_left()


@pytest.mark.timeout(120)
async def test_an_answer_that_kills_whoever_persists_it_is_left_alone_for_an_hour(tmp_path):
    env = THREE | {"TURNWIRE_MAX_ATTEMPTS": "1"}
    async with scene(tmp_path, workers=2, env=env) as view, watched(view) as supervisor:
        answer = view.turn(persist_dies=True)
        await view.submit(answer)
        key = TurnKey.parse(answer.run_id)

        async def pause_s() -> float:
            at_ms = int(await view.redis.hget(key.record, "persist_at") or 0)  # type: ignore[misc]
            return at_ms / 1000 - (await view.redis.time())[0]

        async def is_left_alone() -> bool:
            calls = view.count(answer)["persist_assistant_message"]
            return await pause_s() > 3000 and supervisor.deaths == calls >= 3

        # One worker dies in the turn, two in the outbox. After the first of these two, the job is known to kill. There
        # is one death more if nobody saw how many jobs a dead worker had: then it does not count against this job.
        await wait_until(is_left_alone, "the long pause", 60)
        deaths = supervisor.deaths
        assert deaths <= 4
        assert await view.status(answer) == "completed"
        assert view.count(answer) == {"produce": 1, "produced": 1, "transform_final_text": 1} | {
            "persist_assistant_message": deaths
        }
        other = view.turn()
        await view.ask(other)
        assert other.lines[-1]["data"]["persisted"] is True
        assert supervisor.deaths == deaths
