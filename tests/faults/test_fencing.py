"""A worker stands still or is cut off for longer than its lease. Another one finishes; the first writes no more."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from chaos.client import Answer
from stack.process import Service
from tests.support.proxy import Mode, Proxy
from tests.support.scene import Scene, open_gate, scene
from tests.support.waiting import LIMIT_S, let_pass, wait_until
from turnwire.shared.keys import TurnKey


@pytest.fixture
async def cut_off(view: Scene) -> AsyncIterator[tuple[Service, Proxy]]:
    """Return a worker that reaches Redis through a network of its own. It is not started yet."""
    assert view.stack.redis is not None
    async with Proxy(view.stack.redis.url) as proxy:
        service = view.worker("cut-off", TURNWIRE_REDIS_URL=proxy.url)
        yield service, proxy


async def start_on(view: Scene, service: Service, answer: Answer) -> "asyncio.Task[Answer]":
    """Let this worker, and not the ordinary one, run the turn up to its gate."""
    view.stack.worker[0].pause()
    reader = view.ask(answer)
    service.start()
    await view.called(answer, "produce")
    await wait_until(lambda: answer.deltas() >= 4, "events before the gate")
    view.stack.worker[0].resume()
    return reader


async def lost_the_lease(service: Service, answer: Answer) -> None:
    await wait_until(
        lambda: f"{answer.run_id}: attempt 1 lost its lease" in service.log(), f"{service.name} sees its loss"
    )


async def check_taken_over(view: Scene, answer: Answer) -> None:
    assert [call["attempt"] for call in view.calls(answer, "produce")] == [1, 2]
    assert [call["attempt"] for call in view.calls(answer, "persist_assistant_message")] == [2]
    assert [call["attempt"] for call in view.calls(answer, "cut")] == [1]  # its model call was closed
    resumed = [line["data"] for line in answer.lines if line["type"] == "session.run.resumed"]
    assert resumed == [{"attempt": 2, "after": "1-0", "reason": "lease_expired"}]


async def test_a_worker_that_was_stopped_past_its_lease_writes_nothing_more(view: Scene):
    service, gate = view.worker("stopped"), view.gate_of_each_attempt()
    answer = view.turn(gate={"4": str(gate)})
    reader = await start_on(view, service, answer)
    service.pause()
    await view.called(answer, "produce", 2)
    open_gate(gate, 2)
    await reader
    before = await view.dump(answer)
    service.resume()
    await lost_the_lease(service, answer)
    assert await view.dump(answer) == before
    await check_taken_over(view, answer)
    await view.check(answer)


async def test_a_worker_that_wakes_up_while_another_one_runs_its_turn_changes_nothing(view: Scene):
    service, gate = view.worker("stopped"), view.gate_of_each_attempt()
    answer = view.turn(gate={"4": str(gate)})
    key = TurnKey.parse(answer.run_id)
    reader = await start_on(view, service, answer)
    service.pause()
    await wait_until(lambda: answer.deltas() >= 8, "the second attempt has streamed as much")
    log = await view.redis.xrange(key.events)
    holder = await view.redis.get(key.lease)
    open_gate(gate, 1)  # so that attempt 1 has something to write when its worker wakes up
    service.resume()
    await lost_the_lease(service, answer)
    assert await view.redis.xrange(key.events) == log
    assert await view.redis.get(key.lease) == holder
    assert not await view.redis.exists(key.steps)
    open_gate(gate, 2)
    await reader
    assert [call["attempt"] for call in view.calls(answer, "persist_assistant_message")] == [2]
    await view.check(answer)


@pytest.mark.parametrize("how", ["hold", "black hole", "deaf"])
async def test_a_worker_that_was_cut_off_past_its_lease_writes_nothing_more(
    view: Scene, cut_off: tuple[Service, Proxy], how: Mode
):
    service, proxy = cut_off
    gate = view.gate_of_each_attempt()
    answer = view.turn(gate={"4": str(gate)})
    reader = await start_on(view, service, answer)
    proxy.set(how)
    await view.called(answer, "produce", 2)
    open_gate(gate, 2)
    await reader
    before = await view.dump(answer)
    proxy.set("pass")
    await lost_the_lease(service, answer)
    assert await view.dump(answer) == before
    await check_taken_over(view, answer)
    await view.check(answer)
    await works_again(view, service)


async def works_again(view: Scene, service: Service) -> None:
    """Check that the worker takes new turns."""
    view.stack.worker[0].pause()
    try:
        answer = view.turn()
        await asyncio.wait_for(view.ask(answer), LIMIT_S)
        assert f"/{service.pid}/" in (await worker_of(view, answer))
    finally:
        view.stack.worker[0].resume()
    await view.check(answer)


async def worker_of(view: Scene, answer: Answer) -> str:
    worker: bytes = await view.redis.hget(TurnKey.parse(answer.run_id).record, "worker")  # type: ignore[misc]
    return worker.decode()


async def test_a_worker_whose_connections_are_cut_goes_on_with_its_turn(view: Scene, cut_off: tuple[Service, Proxy]):
    service, proxy = cut_off
    gate = view.gate()
    answer = view.turn(gate={"4": str(gate)})
    reader = await start_on(view, service, answer)
    proxy.cut()
    gate.touch()
    await reader
    assert [call["attempt"] for call in view.calls(answer, "produce")] == [1]
    await view.check(answer)
    await works_again(view, service)


async def test_a_worker_whose_replies_are_lost_for_a_while_goes_on_with_its_turn(tmp_path):
    """Its writes arrive meanwhile, so it keeps its lease. It repeats each write until it gets a reply."""
    async with scene(
        tmp_path, workers=1, env={"TURNWIRE_LEASE_MS": "20000", "TURNWIRE_REDIS_TIMEOUT_S": "0.5"}
    ) as view:
        assert view.stack.redis is not None
        async with Proxy(view.stack.redis.url) as proxy:
            service = view.worker("deaf", TURNWIRE_REDIS_URL=proxy.url)
            gate = view.gate()
            answer = view.turn(gate={"4": str(gate)}, pace_ms=50)
            reader = await start_on(view, service, answer)
            proxy.set("deaf")
            gate.touch()
            await wait_until(lambda: answer.deltas() >= 5, "an event whose append is not answered")
            await let_pass(0.7)  # meanwhile it repeats the append, on a connection that loses replies as well
            proxy.set("pass")
            await reader
            assert [call["attempt"] for call in view.calls(answer, "produce")] == [1]
            await view.check(answer)
