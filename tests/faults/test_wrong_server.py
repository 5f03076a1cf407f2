"""The address leads to another server, and the old one stays up as its replica. All processes leave the old one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from tests.support.failover import Pair, scene_behind
from tests.support.scene import Scene
from tests.support.waiting import wait_until

LEASE = {"TURNWIRE_LEASE_MS": "6000"}  # longer than each of these failovers
TURNS = 20


@pytest.fixture
async def view(pair: Pair, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_behind(pair, tmp_path, workers=2, env=LEASE) as view:
        yield view


async def stay_connected(pair: Pair) -> None:
    """Do nothing: the old connections still lead to the old primary."""


async def reset_connections(pair: Pair) -> None:
    pair.front.reset()


@pytest.mark.parametrize("at_last", [stay_connected, reset_connections], ids=lambda step: step.__name__)
async def test_turns_and_streams_go_on_at_the_new_primary(
    view: Scene, pair: Pair, at_last: Callable[[Pair], Awaitable[None]]
):
    processes = {service.name: service.pid for service in view.stack.services}
    turns = [view.turn(events=100, pace_ms=20, stream=number % 2 == 0) for number in range(TURNS)]
    readers = [view.ask(answer) for answer in turns]
    await wait_until(lambda: all(answer.deltas() > 5 for answer in turns), "turns run", 20)
    await pair.order(pair.first, "CLIENT", "PAUSE", 10_000, "WRITE")  # planned, so that nothing is lost
    await pair.synced()
    await pair.fail_over()
    await pair.demote()
    await at_last(pair)
    await wait_until(lambda: is_ready(view), "the API is ready")
    later = view.turn()
    readers.append(view.ask(later, retry=True))
    async with asyncio.timeout(30):
        await asyncio.gather(*readers)
    await view.check(*turns, later)
    assert {answer.connections for answer in turns} == {1}
    assert {view.count(answer)["produce"] for answer in turns} == {1}
    assert {service.name: service.pid for service in view.stack.services if service.running} == processes


async def test_an_api_in_front_of_a_replica_is_not_ready(view: Scene, pair: Pair):
    assert await is_ready(view)
    await pair.order(pair.first, "REPLICAOF", "127.0.0.1", 1)
    response = await view.client.http.get(view.client.base_url() + "/readyz")
    assert response.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert response.json()["code"] == "store_unavailable"
    await pair.order(pair.first, "REPLICAOF", "NO", "ONE")
    await wait_until(lambda: is_ready(view), "the API is ready again")


async def is_ready(view: Scene) -> bool:
    response = await view.client.http.get(view.client.base_url() + "/readyz")
    return response.status_code == httpx.codes.OK
