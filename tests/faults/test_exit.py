"""Processes are asked to stop. They end properly, and no code of a product can hold them."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stack.process import Service
from tests.support.draining import started, stranded
from tests.support.scene import scene
from tests.support.waiting import wait_until
from turnwire.shared.keys import TurnKey
from turnwire.shared.store.waking import cancel_and_wake

ROOT = Path(__file__).resolve().parents[2]
DISOBEYING = {"TURNWIRE_HOOKS": "tests.support.disobeying:hooks", "TURNWIRE_DRAIN_S": "0.2"}
LIMIT_S = 20.0  # generous, because the tests are about whether a process ends, not how soon


async def ended(service: Service) -> int | None:
    await wait_until(lambda: not service.running, f"the end of {service.name}", LIMIT_S)
    return service.exit_code


async def test_idle_processes_end_with_status_0(tmp_path):
    async with scene(tmp_path) as view:
        for service in view.stack.services:
            service.terminate()
        assert [await ended(service) for service in view.stack.services] == [0] * len(view.stack.services)


async def test_an_api_that_is_followed_ends_with_status_0(tmp_path):
    async with scene(tmp_path) as view:
        answer = view.turn(gate={"1": str(view.gate())})
        view.ask(answer)
        await wait_until(lambda: answer.deltas() == 1, "the answer under way")
        view.stack.api[0].terminate()
        assert await ended(view.stack.api[0]) == 0


async def test_an_api_ends_while_redis_does_not_answer(tmp_path):
    async with scene(tmp_path) as view:
        assert view.stack.redis is not None
        view.stack.redis.pause()
        try:
            view.stack.api[0].terminate()
            assert await ended(view.stack.api[0]) == 0
        finally:
            view.stack.redis.resume()


@pytest.mark.parametrize("hangs", ["task", "thread", "executor", "stray task", "exit"])
async def test_code_that_does_not_end_holds_neither_its_turn_nor_the_exit(tmp_path, hangs):
    async with scene(tmp_path, env=DISOBEYING) as view:
        answer = view.turn(hangs=hangs)
        view.ask(answer)
        await wait_until(lambda: answer.deltas() == 1, "the answer under way")
        stopped = view.stack.worker[0]
        stopped.terminate()
        assert await ended(stopped) == 0
        assert await view.status(answer) == "queued"
        assert await stranded(view) == []
        assert await view.crashes(answer) == 0


async def test_a_cancel_and_a_time_limit_end_a_turn_that_ignores_them_and_others_go_on(tmp_path):
    env = DISOBEYING | {"TURNWIRE_TURN_TIMEOUT_S": "3", "TURNWIRE_MAX_JOBS": "2"}
    async with scene(tmp_path, env=env) as view:
        cancelled, timed_out = view.turn(hangs="task"), view.turn(hangs="thread")
        for answer in (cancelled, timed_out):
            view.ask(answer)
        await wait_until(lambda: started([cancelled, timed_out]), "both under way")
        await cancel_and_wake(view.store, view.queue, TurnKey.parse(cancelled.run_id), "enough")
        await view.ended(cancelled, timed_out, limit_s=LIMIT_S)
        assert await view.status(cancelled) == "cancelled"
        assert await view.status(timed_out) == "failed"
        others = [view.turn() for _ in range(4)]  # they run only if both slots are free again
        await asyncio.gather(*(view.ask(answer) for answer in others))
        assert {await view.status(answer) for answer in others} == {"completed"}


async def test_a_worker_with_very_many_hung_calls_stops_so_that_a_new_one_can_be_started(tmp_path):
    env = DISOBEYING | {"TURNWIRE_MAX_JOBS": "1"}  # 1 slot, and 1 of the outbox: such a worker bears 8 hung calls
    async with scene(tmp_path, env=env) as view:
        answer = view.turn(hangs="many threads", calls=9)
        view.ask(answer)
        worker = view.stack.worker[0]
        assert await ended(worker) == 1
        assert "this worker has to be replaced" in worker.log()
        assert await view.status(answer) == "queued"
        assert await stranded(view) == []


async def test_an_api_with_a_shutdown_delay_first_tells_the_proxies_and_serves_on(tmp_path):
    async with scene(tmp_path, env={"TURNWIRE_SHUTDOWN_DELAY_S": "600"}) as view:
        api, probe = view.stack.api[0], f"{view.stack.base_urls[0]}/readyz"
        api.terminate()

        async def tells() -> bool:
            return (await view.client.http.get(probe)).status_code == 503

        await wait_until(tells, "the API is not ready")
        assert (await view.client.http.get(probe)).json()["detail"] == "the server is stopping"
        assert (await view.ask(view.turn())).types[-1] == "session.run.completed"
        api.terminate()  # a second signal ends the delay
        assert await ended(api) == 0


async def test_an_api_ends_when_its_shutdown_delay_is_over(tmp_path):
    async with scene(tmp_path, env={"TURNWIRE_SHUTDOWN_DELAY_S": "0.2"}) as view:
        api = view.stack.api[0]
        api.terminate()
        assert await ended(api) == 0
        assert "stopping in 0.2 s" in api.log()


@pytest.mark.parametrize("blocks", ["while True: pass", "threading.Thread(target=time.sleep, args=(60,)).start()"])
def test_a_process_leaves_when_its_time_is_up_whatever_it_does(blocks):
    code = "import threading, time; from turnwire.worker.leaving import Leaving\n"
    code += f"leaving = Leaving(); leaving.within(60, 4); leaving.within(0.2, 7)\n{blocks}"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), capture_output=True, check=False, timeout=LIMIT_S
    )
    assert process.returncode == 7
    assert b"should have ended by now" in process.stderr
