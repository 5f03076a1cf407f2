"""What a large pool costs Redis beside its turns, and for how long the death of a worker blocks it.

Many registered workers send heartbeats, watch each other and sweep, while many turns wait in the queue and many clients
are connected. Redis CPU: what the workers add to an idle server with the same queue and the same clients. Then one
worker that has claimed jobs is killed; later a whole process with many workers. SLOWLOG tells the longest command.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import uvloop

from benchmarks.rig.measure import medians
from benchmarks.rig.report import Report, options
from benchmarks.rig.services import redis_server, running, workspace
from stack.cluster import bare_environment
from stack.process import Service
from turnwire.shared import keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.queue_open import WAITING_MS

PROCESSES = 4  # how many processes the workers are spread over
START_LIMIT_S = 60.0
BURIED_LIMIT_S = 30.0
CHUNK = 500
LISTED_US = 100  # commands that take longer are listed
PAUSE_S = 0.01


async def fill(queue: TurnQueue, turns: int) -> None:
    """Enqueue turns that seem to have waited for some time, so that the sweep always has some of them to look at."""
    for begin in range(0, turns, CHUNK):
        names = [SessionKey("default", f"waits{number}").turn(0).run_id for number in range(begin, begin + CHUNK)]
        await asyncio.gather(*(queue.enqueue(name, accepted=True) for name in names))
    seconds, _ = await queue.redis.time()
    for begin in range(0, turns, CHUNK):
        names = [SessionKey("default", f"waits{number}").turn(0).run_id for number in range(begin, begin + CHUNK)]
        await queue.redis.zadd(
            keys.OPEN_TURNS, {name: seconds * 1000 + random.uniform(0, WAITING_MS) for name in names}
        )


@asynccontextmanager
async def connected(url: str, clients: int) -> AsyncIterator[None]:
    """Keep this number of idle clients connected until the end of the block."""
    writers: list[asyncio.StreamWriter] = []
    while len(writers) < clients:
        try:
            _, writer = await asyncio.open_unix_connection(url.removeprefix("unix://"))
        except BlockingIOError:  # the server has not yet accepted those before
            await asyncio.sleep(0.01)
        else:
            writers.append(writer)
    try:
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


class Watched:
    """The Redis server, as it is seen from outside."""

    def __init__(self, url: str) -> None:
        self.queue = TurnQueue(connect(url, connections=20), Settings(redis_url=url))
        self._redis = self.queue.redis

    async def share(self, seconds: float) -> float:
        """Return the share of a core that the server takes, in percent."""
        before = await self._cpu_s()
        began_s = time.monotonic()
        await asyncio.sleep(seconds)
        return 100 * (await self._cpu_s() - before) / (time.monotonic() - began_s)

    async def _cpu_s(self) -> float:
        cpu = await self._redis.info("cpu")
        return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])

    async def without(self, victim: Service, left: int) -> tuple[float, float]:
        """Kill some workers. Returns the longest command in ms, and after how many ms `left` workers are left."""
        await self._redis.config_set("slowlog-log-slower-than", LISTED_US)
        await self._redis.config_set("slowlog-max-len", 10_000)
        await self._redis.slowlog_reset()
        victim.kill()
        began_s = time.monotonic()
        async with asyncio.timeout(BURIED_LIMIT_S):
            while await self._redis.hlen(keys.WORKERS) > left:  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(PAUSE_S)
        buried_ms = 1000 * (time.monotonic() - began_s)
        await asyncio.sleep(1)
        listed = await self._redis.slowlog_get(10_000)
        return max((entry["duration"] for entry in listed), default=LISTED_US) / 1000, buried_ms

    async def aclose(self) -> None:
        await self._redis.aclose(close_connection_pool=True)


def wait_until_ready(service: Service) -> None:
    """Wait until all workers of a process have registered."""
    service.wait_until(lambda: "ready" in service.log(), START_LIMIT_S)


async def measure(directory: Path, url: str, args: argparse.Namespace) -> dict[str, float]:
    """One round, on an empty server."""
    watched, figures = Watched(url), {}
    with ExitStack() as exit_stack:

        def start(name: str, workers: int, claims: int) -> Service:
            argv = ["-m", "benchmarks.rig.simulated_workers", url, str(workers), str(claims)]
            return exit_stack.enter_context(running(directory, name, argv, bare_environment()))

        await fill(watched.queue, args.turns)
        async with connected(url, args.clients):
            idle = await watched.share(args.seconds)
            many = args.workers // PROCESSES
            pools = [start(f"pool{number}", many, 0) for number in range(PROCESSES)]
            victim = start("victim", 1, args.claims)
            for service in [*pools, victim]:
                await asyncio.to_thread(wait_until_ready, service)
            await asyncio.sleep(2)
            figures["share"] = await watched.share(args.seconds) - idle
            figures["one ms"], figures["one buried ms"] = await watched.without(victim, many * PROCESSES)
            figures["many ms"], figures["many buried ms"] = await watched.without(pools[0], many * (PROCESSES - 1))
        await watched.aclose()
    return figures


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, "housekeeping", rounds=1)
    parser.add_argument("--workers", type=int, default=200, help="that are registered (%(default)s)")
    parser.add_argument("--turns", type=int, default=100_000, help="that wait in the queue (%(default)s)")
    parser.add_argument("--clients", type=int, default=5000, help="that are connected (%(default)s)")
    parser.add_argument("--claims", type=int, default=100, help="of the worker that is killed (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each measurement of CPU (%(default)s)")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.workers, args.turns, args.clients, args.seconds = 1, 40, 5000, 500, 3.0
    report = Report("housekeeping", args, ["", "measured", "goal"])
    rounds = []
    for number in range(args.rounds):
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
        with workspace() as directory, redis_server(directory) as redis:
            rounds.append(uvloop.run(measure(directory, redis.url, args)))
    figures = medians(rounds)
    many = args.workers // PROCESSES
    report.row("Redis CPU for the pool, % of a core", figures["share"], "<= 2")
    report.row("one worker killed: longest command, ms", figures["one ms"], "<= 5")
    report.row("one worker killed: buried after, ms", figures["one buried ms"], "<= 1,000")
    report.row(f"{many} workers killed at once: longest command, ms", figures["many ms"], "<= 5")
    report.row(f"{many} workers killed at once: all buried after, ms", figures["many buried ms"], "<= 1,000")
    report.publish()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
