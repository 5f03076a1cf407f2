"""A worker or an API dies, or loses a reply, at a write of a turn that waits for a signal.

No completed step runs twice, no signal is lost or counted twice, and every reader sees the same log.
"""

import asyncio
from functools import partial

import httpx
import pytest

from chaos import verify
from chaos.client import Answer
from stack.process import Service, answers
from tests.support.scene import Scene
from tests.support.stepped import check, open_when_each_has_one
from tests.support.struck import MODES, all_accepted, crashing_api, faulty_workers, struck, until_all_struck
from tests.support.waiting import LIMIT_S, wait_until


@pytest.fixture(scope="module")
def product() -> dict[str, str]:
    return {"TURNWIRE_HOOKS": "tests.support.stepping:hooks", "TURNWIRE_PERSIST_TRIES": "1"}


@pytest.mark.parametrize("write", ["suspend:1", "checkpoint.signal:go:1", "finish.parked:1"])
async def test_a_fault_while_a_turn_suspends_or_takes_its_signal_loses_nothing(view: Scene, write: str):
    """The faulty workers suspend the turns. Those that live long enough continue them after the signal."""
    gate = view.gate()
    turns = [view.turn(signal="go", start_gates={"1": str(gate)}) for _ in MODES]
    view.stack.worker[0].pause()
    readers = [view.ask(answer) for answer in turns]
    await wait_until(lambda: all_accepted(view, turns), "the turns stand in the queue")
    if "checkpoint" in write:
        for answer in turns:
            assert (await signal(view, answer)).status_code == 202  # the signal comes before the turn waits for it
    async with faulty_workers(view, write, TURNWIRE_MAX_JOBS="1") as services:
        await open_when_each_has_one(view, turns, gate)
        await until_all_struck(services)
        view.stack.worker[0].resume()
        for answer, reader in zip(turns, readers, strict=True):
            await wait_until(partial(waits_or_ended, view, answer), "the turn to wait")
            await signal(view, answer)
            await reader
    for answer in turns:
        await check(view, answer, payload="yes ")
        assert view.count(answer)["answer"] == view.count(answer)["first"] == 1
    await view.nothing_left()


async def waits_or_ended(view: Scene, answer: Answer) -> bool:
    return await view.status(answer) in {"suspended", "completed"}


async def signal(view: Scene, answer: Answer, url: str | None = None):
    path = f"{url or view.stack.base_urls[0]}{answer.path}/signals/go"
    return await view.client.http.post(path, json={"payload": "yes"})


async def suspended(view: Scene) -> tuple[Answer, asyncio.Task[Answer]]:
    answer = view.turn(signal="go")
    reader = view.ask(answer)

    async def waits() -> bool:
        return await view.status(answer) == "suspended"

    await wait_until(waits, "the turn to wait")
    return answer, reader


async def faulty_api(view: Scene, crash_at: str) -> tuple[Service, str]:
    service, url = crashing_api(view, crash_at)
    service.start()
    await wait_until(lambda: answers(f"{url}/readyz"), "the faulty API")
    return service, url


@pytest.mark.parametrize("mode", ["before", "after"])
@pytest.mark.parametrize("write", ["signal", "enqueue"])
async def test_a_signal_whose_api_died_is_sent_again_and_counts_once(view: Scene, write: str, mode: str):
    service, url = await faulty_api(view, f"{write}:1:{mode}")
    answer, reader = await suspended(view)
    with pytest.raises(httpx.TransportError):
        await signal(view, answer, url)
    assert service.wait(LIMIT_S) == -9
    again = await signal(view, answer)
    assert again.status_code in ({202} if (write, mode) == ("signal", "before") else {200, 409})
    await reader
    await check(view, answer, payload="yes ")
    assert answer.types.count("session.run.resumed") == 1
    await view.nothing_left()


async def test_a_signal_whose_api_died_before_it_woke_the_turn_needs_no_client_to_send_it_again(view: Scene):
    service, url = await faulty_api(view, "signal:1:after")
    answer, reader = await suspended(view)
    with pytest.raises(httpx.TransportError):
        await signal(view, answer, url)
    assert service.wait(LIMIT_S) == -9
    assert await view.status(answer) == "queued"
    await view.due_now(answer)  # what the sweep would do when its time comes
    await reader
    await check(view, answer, payload="yes ")
    await view.nothing_left()


@pytest.mark.parametrize("write", ["signal", "enqueue"])
async def test_a_reply_that_the_api_lost_wakes_the_turn_once(view: Scene, write: str):
    service, url = await faulty_api(view, f"{write}:1:lost")
    answer, reader = await suspended(view)
    assert (await signal(view, answer, url)).status_code in {200, 202}
    assert struck(service)
    await reader
    await check(view, answer, payload="yes ")
    assert answer.types.count("session.run.resumed") == 1
    await view.nothing_left()


async def test_a_worker_that_dies_when_it_has_ended_a_wait_leaves_it_to_the_sweep(view: Scene):
    """The worker stores that the time is up and queues the turn, but dies before it enqueues the turn's job."""
    answer = view.turn(signal="go", timeout=0.1)
    view.stack.worker[0].pause()
    reader = view.ask(answer)
    service = view.worker("expire-after", "tests.support.crashing_worker", CRASH_AT="expire:1:after").start()
    await until_all_struck([service])
    assert await view.status(answer) == "queued"
    await view.due_now(answer)
    view.stack.worker[0].resume()
    await reader
    assert (await signal(view, answer)).status_code == 200  # too late: the timeout was stored first
    assert verify.check_lines(answer.lines, status="failed") == []
    assert [line["data"]["code"] for line in answer.lines if line["type"] == "session.run.failed"] == ["signal_timeout"]
    assert view.count(answer)["answer"] == view.count(answer)["first"] == 1
    assert "last" not in view.count(answer)
    await view.nothing_left()
