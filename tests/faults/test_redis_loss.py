"""Redis goes away for a while. All processes wait and then continue; no accepted turn is lost, and no stream is cut."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from chaos.client import Answer, refusal
from stack.cluster import Stack
from stack.network import free_port
from stack.redis_server import RedisServer
from tests.support.scene import SETTINGS, Scene
from tests.support.waiting import LOAD_S, let_pass, wait_until

LEASE = {"TURNWIRE_LEASE_MS": "6000"}  # longer than any outage here, so no worker has a reason to take over
AWAY_S = 1.0
UNAVAILABLE = "503 store_unavailable retry-after 1"

Outage = Callable[[Scene, RedisServer], Awaitable[None]]


async def restart_in_order(view: Scene, server: RedisServer) -> None:
    server.service.terminate()
    await wait_until(lambda: not server.service.running, "the end of Redis")
    await let_pass(AWAY_S)
    server.start()


async def kill_and_start(view: Scene, server: RedisServer) -> None:
    server.kill()
    await let_pass(AWAY_S)
    server.start()


async def pause_clients(view: Scene, server: RedisServer) -> None:
    await view.redis.execute_command("CLIENT PAUSE 2000 ALL")
    await let_pass(2)


async def cut_connections(view: Scene, server: RedisServer) -> None:
    for kind in ("normal", "pubsub"):
        await view.redis.execute_command(f"CLIENT KILL TYPE {kind}")
    await let_pass(1)


async def stop_process(view: Scene, server: RedisServer) -> None:
    server.pause()
    await let_pass(2.5)
    server.resume()


async def fill_memory(view: Scene, server: RedisServer) -> None:
    await view.redis.config_set("maxmemory", 1)
    await let_pass(AWAY_S)
    await view.redis.config_set("maxmemory", 0)


async def become_replica(view: Scene, server: RedisServer) -> None:
    async with Redis.from_url(server.url) as operator:  # a client of the API or the worker would leave a replica
        await operator.execute_command("REPLICAOF", "127.0.0.1", free_port())
        await let_pass(AWAY_S)
        await operator.execute_command("REPLICAOF NO ONE")


OUTAGES = [
    restart_in_order,
    kill_and_start,
    pause_clients,
    cut_connections,
    stop_process,
    fill_memory,
    become_replica,
]


@asynccontextmanager
async def watched(view: Scene) -> AsyncIterator[list[tuple[str, str, float]]]:
    """Until the end of the block, send requests to the API. Yields the list of (request, answer, seconds)."""
    seen: list[tuple[str, str, float]] = []

    async def watch(name: str, ask: Callable[[], Awaitable[httpx.Response]]) -> None:
        while True:
            began_s = time.monotonic()
            response = await ask()
            word = "ok" if response.status_code < 300 else refusal(response)
            seen.append((name, word, time.monotonic() - began_s))
            await let_pass(0.1)

    known = view.turn()
    await view.ask(known)
    tasks = [
        asyncio.create_task(watch("post", lambda: view.client.submit(view.turn()))),
        asyncio.create_task(watch("get", lambda: view.client.http.get(view.client.base_url() + known.path))),
    ]
    try:
        yield seen
        assert not any(task.done() for task in tasks), tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(scope="module")
def durable_redis(module_directory: Path) -> Iterator[RedisServer]:
    """Run a Redis with an append-only file, so that it may be killed."""
    with RedisServer(module_directory / "redis", aof=True) as server:
        yield server


@pytest.fixture(scope="module")
def shared_stack(module_directory: Path, durable_redis: RedisServer) -> Iterator[Stack]:
    """Run one API and two workers, which live through all outages."""
    env = SETTINGS | LEASE | {"CHAOS_LEDGER": str(module_directory / "ledger")}
    with Stack(module_directory, workers=2, env=env, redis=durable_redis) as stack:
        yield stack


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.__name__)
async def test_turns_and_streams_outlive_it(view: Scene, durable_redis: RedisServer, outage: Outage):
    processes = {service.name: service.pid for service in view.stack.services}
    running = [view.turn(events=60, pace_ms=20) for _ in range(5)]
    waiting = [view.turn(answer.session, 1) for answer in running]
    accepted = [view.turn() for _ in range(10)]
    readers = [view.ask(answer) for answer in running]
    await wait_until(lambda: all(answer.deltas() for answer in running), "turns run")
    readers += [view.ask(answer) for answer in waiting]
    await wait_until(lambda: all_accepted(view, waiting), "the next turns wait")
    async with watched(view) as seen:
        await view.submit(*accepted)
        await outage(view, durable_redis)
        await wait_until(lambda: seen[-1][1] == seen[-2][1] == "ok" or None, "the API answers again")
        async with asyncio.timeout(10 + LOAD_S):
            await asyncio.gather(*readers)
    assert {word for _, word, _ in seen} <= {"ok", UNAVAILABLE}
    slow = [entry for entry in seen if entry[2] > 2.5 + LOAD_S]
    assert not slow, f"requests that got neither an answer nor an error in time: {slow}"
    await view.ended(*accepted)
    assert {await view.status(answer) for answer in accepted} == {"completed"}
    await view.check(*running, *waiting)
    assert {answer.connections for answer in running + waiting} == {1}
    assert {view.count(answer)["produce"] for answer in running + waiting} == {1}
    assert {service.name: service.pid for service in view.stack.services if service.running} == processes


async def test_workers_whose_connections_were_cut_are_known_by_their_new_ones(view: Scene):
    """Regression: after one CLIENT KILL, workers buried each other again and again; turns had dozens of attempts."""
    gate = view.gate()
    turns = [view.turn(gate={"3": str(gate)}) for _ in range(6)]
    readers = [view.ask(answer) for answer in turns]
    await wait_until(lambda: all(answer.deltas() == 3 for answer in turns), "turns run")
    before = await subscribers(view)
    await view.redis.execute_command("CLIENT KILL TYPE pubsub")

    async def renewed() -> bool:
        workers = await view.redis.pubsub_channels("*turnwire:alive:*")
        return len(workers) == 2 and not before & await subscribers(view)

    await wait_until(renewed, "both workers with new connections")
    gate.touch()
    await asyncio.gather(*readers)
    assert {view.count(answer)["produce"] for answer in turns} == {1}
    await view.check(*turns)


async def subscribers(view: Scene) -> set[int]:
    """Return the connections that have any subscription."""
    return {int(client["id"]) for client in await view.redis.client_list(_type="pubsub")}


async def all_accepted(view: Scene, answers: list[Answer]) -> bool:
    return all([await view.status(answer) for answer in answers])
