"""A worker is asked to stop. Another worker continues its turns at once, which costs no attempt and strands nothing."""

import asyncio
import signal
import time

import pytest

from tests.support.draining import LONG_LEASE, exited, started, stranded
from tests.support.scene import open_gate, scene
from tests.support.waiting import LOAD_S, wait_until


@pytest.mark.parametrize("drain_s", ["0", "0.5"])
async def test_turns_of_a_stopped_worker_are_handed_over_at_once_and_count_no_crash(tmp_path, drain_s: str):
    async with scene(tmp_path, workers=1, env=LONG_LEASE | {"TURNWIRE_DRAIN_S": drain_s}) as view:
        gate = view.gate_of_each_attempt()
        turns = [view.turn(gate={"3": str(gate)}) for _ in range(30)]
        readers = [view.ask(answer) for answer in turns[:15]]  # all of these run on the worker that will stop
        await wait_until(lambda: started(turns[:15], 3), "the first turns run")
        await asyncio.to_thread(view.stack.add_worker)
        readers += [view.ask(answer) for answer in turns[15:]]
        await wait_until(lambda: started(turns, 3), "all turns run")
        stopped = view.stack.worker[0]
        own = [answer for answer in turns if (await view.runs_on(answer)) is stopped]
        assert len(own) >= 15
        asked_at_s = time.monotonic()
        stopped.terminate()
        await exited(stopped, float(drain_s) + 2)
        assert await stranded(view) == []
        open_gate(gate, 1)
        open_gate(gate, 2)
        await asyncio.gather(*readers)
        await view.check(*turns)
        for answer in turns:
            resumed = [
                (line["data"]["reason"], at_s)
                for line, at_s in zip(answer.lines, answer.at_s, strict=True)
                if line["type"] == "session.run.resumed"
            ]
            assert [reason for reason, _ in resumed] == (["handover"] if answer in own else [])
            assert all(at_s - asked_at_s < float(drain_s) + 1.5 + LOAD_S for _, at_s in resumed)
            assert await view.crashes(answer) == 0


async def test_turns_that_end_within_the_drain_time_are_not_handed_over(tmp_path):
    async with scene(tmp_path, workers=2, env=LONG_LEASE | {"TURNWIRE_DRAIN_S": "10"}) as view:
        turns = [view.turn(events=10, pace_ms=50) for _ in range(20)]
        readers = [view.ask(answer) for answer in turns]
        await wait_until(lambda: started(turns), "all turns run")
        view.stack.worker[0].terminate()
        await asyncio.gather(*readers)
        await exited(view.stack.worker[0], 2)
        assert all(view.count(answer)["produce"] == 1 for answer in turns)
        await view.check(*turns)


async def test_a_worker_that_an_operator_drains_ends_as_with_sigterm(tmp_path):
    async with scene(tmp_path, workers=2, env=LONG_LEASE | {"TURNWIRE_DRAIN_S": "10"}) as view:
        turns = [view.turn(events=10, pace_ms=50) for _ in range(10)]
        readers = [view.ask(answer) for answer in turns]
        await wait_until(lambda: started(turns), "all turns run")
        http, url = view.client.http, view.client.base_url()
        found = (await http.get(f"{url}/v1/admin/workers")).json()["workers"]
        [drained] = [each["id"] for each in found if each["pid"] == view.stack.worker[0].pid]
        # With this lease, a heartbeat comes every 20 s: the worker ends in time only because it is told at once.
        assert (await http.post(f"{url}/v1/admin/workers/{drained.replace('/', '%2F')}/drain")).status_code == 202
        await asyncio.gather(*readers)
        await exited(view.stack.worker[0], 2)
        assert view.stack.worker[1].running
        await view.check(*turns)


async def test_what_was_checkpointed_before_a_handover_is_not_repeated(tmp_path):
    async with scene(tmp_path, workers=2, env=LONG_LEASE) as view:
        gate = view.gate()
        answer = view.turn(persist_gate=str(gate))
        reader = view.ask(answer)
        await view.called(answer, "persist_assistant_message")
        (await view.runs_on(answer)).terminate()
        await view.called(answer, "persist_assistant_message", 2)
        gate.touch()
        await reader
        await view.check(answer)
        assert view.count(answer)["produce"] == 1


async def test_a_second_sigterm_hands_over_at_once(tmp_path):
    async with scene(tmp_path, workers=2, env=LONG_LEASE | {"TURNWIRE_DRAIN_S": "30"}) as view:
        gate = view.gate_of_each_attempt()
        answer = view.turn(gate={"3": str(gate)})
        reader = view.ask(answer)
        await wait_until(lambda: answer.deltas() == 3, "the answer under way")
        stopped = await view.runs_on(answer)
        stopped.terminate()
        await wait_until(lambda: "draining" in stopped.log(), "it drains")
        stopped.terminate()
        await exited(stopped, 2)
        (tmp_path / gate.name.replace("{attempt}", "2")).touch()
        await reader
        await view.check(answer)


async def test_a_worker_can_be_stopped_while_redis_does_not_answer(tmp_path):
    async with scene(tmp_path, workers=1, env={"TURNWIRE_DRAIN_S": "0.2"}) as view:
        answer = view.turn(gate={"3": str(view.gate())})
        view.ask(answer)
        await wait_until(lambda: answer.deltas() == 3, "the answer under way")
        assert view.stack.redis is not None
        view.stack.redis.pause()
        try:
            view.stack.worker[0].terminate()
            await wait_until(lambda: not view.stack.worker[0].running, "its end")
        finally:
            view.stack.redis.resume()
        assert view.stack.worker[0].exit_code in {0, -signal.SIGTERM}
