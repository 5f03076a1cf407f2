"""Measures the time from a worker's end to `session.run.resumed`, on the connection that the client has all the time.

killed: SIGKILL. lost: SIGSTOP, as if the host were gone. The worker's connections stay open, so only the end of its
lease tells; it comes back afterwards and must change nothing. drained: SIGTERM with TURNWIRE_DRAIN_S=0. Each turn is
checked to its end.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import uvloop

from benchmarks.rig.measure import percentile
from benchmarks.rig.report import Report, options, run_main
from benchmarks.rig.services import redis_server, turnwire, workspace
from benchmarks.rig.tail_client import Answer, Event, TailClient
from stack.cluster import Stack
from stack.process import Service
from turnwire.shared.keys import SessionKey, TurnKey
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore

WORKERS = 3
LOAD = {"events": 100, "rate_per_s": 60}
EVENTS = 100 + 4  # started, resumed, result, completed
STRIKE_AFTER = (5, 90)  # the worker ends after a number of events in this range, so at any time between two heartbeats
COME_BACK_S = 1.0  # how long a lost worker is watched after its return
RESTART_LIMIT_S = 10.0


@dataclass(frozen=True)
class Scenario:
    """One way in which a worker ends, and whether it comes back once the turn has ended elsewhere."""

    name: str
    times: int
    goal_ms: float
    reason: str
    strike: Callable[[Service], None]
    lease_ms: int = 5000
    drain_s: float = 30.0
    comes_back: bool = False


class Observer:
    """Looks into Redis to see which worker runs a turn, and what has been written about the turn."""

    def __init__(self, stack: Stack) -> None:
        assert stack.redis
        settings = Settings(redis_url=stack.redis.url)
        self._stack = stack
        self._redis = connect(settings.redis_url, connections=2)
        self._store = TurnStore(self._redis, settings)
        self._queue = TurnQueue(self._redis, settings)

    async def owner(self, key: TurnKey) -> int:
        """Return the number of the stack's worker that has the lease."""
        lease = await self._redis.get(key.lease)
        entry = (await self._queue.workers())[lease.decode().rpartition("#")[0]]
        pid = msgspec.json.decode(entry)["pid"]
        return next(number for number, worker in enumerate(self._stack.worker) if worker.pid == pid)

    async def written(self, key: TurnKey) -> object:
        """Return everything that a stale worker could change."""
        steps = await self._redis.hgetall(key.steps)  # type: ignore[misc]
        return await self._store.record(key), await self._store.read(key, None), steps

    async def aclose(self) -> None:
        await self._redis.aclose(close_connection_pool=True)


async def seen(answer: Answer, needle: bytes, times: int) -> None:
    """Wait until the client has got these bytes `times` times."""
    async with asyncio.timeout(20):
        while answer.seen(needle) < times:  # noqa: ASYNC110 - the client keeps bytes and looks at them later
            await asyncio.sleep(0.005)


async def once(stack: Stack, observer: Observer, scenario: Scenario, name: str) -> float:
    """Run one turn that loses its worker. Returns how many ms the client saw no worker."""
    key = TurnKey(SessionKey("default", name), 0)
    client = TailClient(stack.base_urls[0], timeout_s=60)
    answer = await client.start(name, LOAD)
    await seen(answer, b'"delta"', random.Random(name).randint(*STRIKE_AFTER))
    number = await observer.owner(key)
    worker = stack.worker[number]
    struck_ns = time.monotonic_ns()
    scenario.strike(worker)
    try:
        await client.finish(answer)
        resumed = check(answer, scenario)
        if scenario.comes_back:
            before = await observer.written(key)
            worker.resume()
            await asyncio.sleep(COME_BACK_S)
            assert await observer.written(key) == before, f"{name}: a stale worker changed the turn"
            assert worker.running, f"{name}: the worker did not survive its return"
    finally:
        worker.resume()
    if not scenario.comes_back:
        worker.wait(RESTART_LIMIT_S)
        worker.start()
        stack.wait_worker(number)
    return (resumed.at_ns - struck_ns) / 1e6


def check(answer: Answer, scenario: Scenario) -> Event:
    """Check an answer, and return its one `session.run.resumed`."""
    [resumed] = [event for event in answer.events(EVENTS, resumed=True) if event.type == "session.run.resumed"]
    assert (resumed.data["reason"], resumed.data["attempt"]) == (scenario.reason, 2), resumed
    return resumed


async def measure(stack: Stack, scenario: Scenario) -> list[float]:
    """Run the scenario as many times as it says, one after the other."""
    observer = Observer(stack)
    try:
        return [await once(stack, observer, scenario, f"turn{number}") for number in range(scenario.times)]
    finally:
        await observer.aclose()


def scenarios(args: argparse.Namespace) -> list[Scenario]:
    """Return all scenarios, with their goals."""
    lost: dict[str, Any] = {"reason": "lease_expired", "strike": Service.pause, "comes_back": True}
    return [
        Scenario("killed, lease 5 s", args.kills, 1000, "lease_expired", Service.kill),
        Scenario("lost, lease 3 s", args.losses, 3500, lease_ms=3000, **lost),
        Scenario("lost, lease 5 s", args.losses, 5500, lease_ms=5000, **lost),
        Scenario("drained, limit 0 s", args.kills, 300, "handover", Service.terminate, drain_s=0),
    ]


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, "takeover", rounds=1)
    parser.add_argument("--kills", type=int, default=25, help="kills, and as many drains, in one round (%(default)s)")
    parser.add_argument("--losses", type=int, default=10, help="lost workers per lease in one round (%(default)s)")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.kills, args.losses = 1, 5, 2
    report = Report(
        "takeover", args, ["how the worker ends", "times", "p50 ms", "p99 ms", "longest ms", "goal, p99 ms"]
    )
    waits: dict[Scenario, list[float]] = {}
    for number in range(args.rounds):
        for scenario in scenarios(args):
            print(f"round {number + 1} of {args.rounds}: {scenario.name}", file=sys.stderr)
            env = {"TURNWIRE_LEASE_MS": str(scenario.lease_ms), "TURNWIRE_DRAIN_S": str(scenario.drain_s)}
            with (
                workspace() as directory,
                redis_server(directory) as redis,
                turnwire(directory, redis, workers=WORKERS, env=env) as stack,
            ):
                waits.setdefault(scenario, []).extend(uvloop.run(measure(stack, scenario)))
    for scenario, ms in waits.items():
        p50, p99 = percentile(ms, 50), percentile(ms, 99)
        report.row(scenario.name, str(len(ms)), p50, p99, max(ms), f"<= {scenario.goal_ms:,.0f}")
    report.note(f"{WORKERS} workers. Lost workers came back and changed nothing: no event, no step, no field.")
    report.publish()


if __name__ == "__main__":
    run_main(main)
