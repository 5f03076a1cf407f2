"""Measures what a turn's way through the queue costs Redis: commands and microseconds of enqueue, take and finish.

The turns of one tenant, of 2, of 100 and of 10,000 wait at the same time, and are claimed one by one or 25 at a time.
The microseconds are those of Redis itself (INFO commandstats), so the client and the network do not count.
"""

import argparse
import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import uvloop

from benchmarks.rig.measure import least
from benchmarks.rig.report import Report, options, run_main
from benchmarks.rig.services import redis_server, workspace
from turnwire.shared.keys import SessionKey
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect
from turnwire.shared.store.queue import Taken, TurnQueue

TENANTS = (1, 2, 100, 10_000)
BATCHES = (1, 25)
AT_ONCE = 200
WORKER = "host/1/bench"
OUTSIDE = ("cmdstat_info", "cmdstat_config|resetstat", "cmdstat_client|setinfo", "cmdstat_hello")


class Counted:
    """Counts what the server does in one phase of a round."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    async def begin(self) -> None:
        await self._redis.config_resetstat()

    async def per_job(self, jobs: int) -> tuple[float, float]:
        """Return the µs inside scripts for each job since `begin`, and the commands inside scripts."""
        stats = await self._redis.info("commandstats")
        scripts = stats["cmdstat_evalsha"]
        commands = sum(entry["calls"] for name, entry in stats.items() if name not in {"cmdstat_evalsha", *OUTSIDE})
        return scripts["usec"] / jobs, commands / jobs


async def together(calls: Sequence[Coroutine[Any, Any, Any]]) -> None:
    """Await the calls, several at a time, as a busy process does."""
    for begin in range(0, len(calls), AT_ONCE):
        await asyncio.gather(*calls[begin : begin + AT_ONCE])


async def measure(url: str, tenants: int, batch: int, jobs: int) -> dict[str, float]:
    """Measure one round: enqueue all jobs, take them, and end them."""
    redis: Any = connect(url, connections=4)
    await redis.flushall()
    queue, counted = TurnQueue(redis, Settings(redis_url=url, max_queued=10 * jobs)), Counted(redis)
    sessions = [
        SessionKey(f"t{number % tenants}" if tenants > 1 else "default", f"s{number}") for number in range(jobs)
    ]
    await queue.enqueue(SessionKey("default", "warm").turn(0).run_id)
    for job in (await queue.take(WORKER, 1))[0]:
        await queue.end(WORKER, job)
    figures: dict[str, float] = {}

    async def phase(name: str, work: Coroutine[Any, Any, Any]) -> None:
        await counted.begin()
        await work
        figures[f"{name} us"], figures[f"{name} commands"] = await counted.per_job(jobs)

    await phase("enqueue", together([queue.enqueue(session.turn(0).run_id) for session in sessions]))
    taken: list[Taken] = []

    async def take_all() -> None:
        while len(taken) < jobs:
            found, _ = await queue.take(WORKER, batch)
            assert found, "jobs are missing"
            taken.extend(found)

    await phase("take", take_all())
    await phase("finish", together([queue.end(WORKER, job) for job in taken]))
    await redis.aclose(close_connection_pool=True)
    return figures


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = options(__doc__, "claims", rounds=3)
    parser.add_argument("--jobs", type=int, default=20_000, help="that wait at the same time (%(default)s)")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.jobs = 1, 10_000
    return args


def main() -> None:
    """Measure and print."""
    args = parsed()
    columns = [f"{name} {unit}" for name in ("enqueue", "take", "finish") for unit in ("us", "commands")]
    report = Report("claims", args, ["tenants", "at a time", *columns])
    with workspace() as directory, redis_server(directory) as redis:
        for tenants in TENANTS:
            for batch in BATCHES:
                rounds = [uvloop.run(measure(redis.url, tenants, batch, args.jobs)) for _ in range(args.rounds)]
                figures = least(rounds)
                report.row(f"{tenants:,}", str(batch), *(figures[column] for column in columns))
    report.note("Goal: take us differ by at most 20 % between the numbers of tenants.")
    report.note("Of one tenant alone, 25 jobs leave their line together; else each leaves the line of its tenant.")
    report.publish()


if __name__ == "__main__":
    run_main(main)
