"""Runs no-op jobs through one worker process, and compares jobs a second, CPU and Redis commands with other queues.

A job of Turnwire is a whole turn, with lease, attempt, three events in a log, a checkpoint and a record. A job of the
others is the call of a function.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable

from arq.connections import ArqRedis
from redis.asyncio import Redis

from benchmarks.rig.measure import cpu_s, group, medians
from benchmarks.rig.monitor import Monitor
from benchmarks.rig.queues import ARQ, ARQ_BUSY, SAQ, STREAQ, TASKIQ, TURNWIRE, Pool, Queue, idle_pool
from benchmarks.rig.report import Report, options, ratio, run_main
from turnwire.shared import keys
from turnwire.shared.keys import TurnKey
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect
from turnwire.shared.store.turns import TurnStore

QUEUES = [TURNWIRE, ARQ, ARQ_BUSY, STREAQ, SAQ, TASKIQ]
RUN_LIMIT_S = 120.0
COUNTED = 200  # how many jobs run while commands are counted
COLUMNS = ["system", "jobs/s", "ours against it", "worker CPU ms/job", "Redis CPU ms/job", "commands/job", "in scripts"]


def backlog(pool: Pool, jobs: int, work: Callable[[dict[str, int]], None]) -> None:
    """Enqueue jobs while the worker is stopped. `work` gets the jobs, and must let the worker continue."""
    os.killpg(pool.workers[0].pid, signal.SIGSTOP)  # the group: taskiq's worker is a child of this process
    try:
        work(pool.drive(jobs))
    finally:
        go_on(pool)


def go_on(pool: Pool) -> None:
    """Let the worker continue."""
    os.killpg(pool.workers[0].pid, signal.SIGCONT)


def measure(queue: Queue, jobs: int) -> dict[str, float]:
    """Measure one round: first time a backlog, then count the commands of another one."""
    with idle_pool(queue, 1) as pool:
        figures: dict[str, float] = {}
        redis_pid = pool.redis.pid

        def timed(sent: dict[str, int]) -> None:
            pids = group(pool.workers[0].pid)
            before = sum(map(cpu_s, pids)), cpu_s(redis_pid)
            go_on(pool)
            starts = pool.wait(sent, RUN_LIMIT_S)
            ended_ns = wait_settled(pool, sent) or max(starts.values())
            figures["jobs/s"] = (jobs - 1) * 1e9 / (ended_ns - min(starts.values()))
            figures["worker"] = (sum(map(cpu_s, pids)) - before[0]) * 1000 / jobs
            figures["redis"] = (cpu_s(redis_pid) - before[1]) * 1000 / jobs

        def counted(sent: dict[str, int]) -> None:
            with Monitor(pool.redis.url) as monitor:
                go_on(pool)
                pool.wait(sent, RUN_LIMIT_S)
                wait_settled(pool, sent)
                time.sleep(0.05)
            figures["client"] = monitor.client / len(sent)
            figures["scripted"] = monitor.scripted / len(sent)

        backlog(pool, jobs, timed)
        backlog(pool, COUNTED, counted)
        return figures


def wait_settled(pool: Pool, sent: dict[str, int]) -> int | None:
    """Wait until the queue of Turnwire or arq is empty, so that everything is written. Returns the time, else None.

    For Turnwire, it is also checked that every turn has completed.
    """
    if pool.queue.system not in {"turnwire", "arq"}:
        return None
    return asyncio.run(_settled(pool, sent))


async def _settled(pool: Pool, sent: dict[str, int]) -> int:
    settings = Settings(redis_url=pool.redis.url)
    redis = connect(settings.redis_url, connections=4)
    try:
        async with asyncio.timeout(RUN_LIMIT_S):
            while await redis.zcard(keys.QUEUE):  # noqa: ASYNC110 - another process empties it
                await asyncio.sleep(0.002)
        ended_ns = time.monotonic_ns()
        if pool.queue.ours:
            await _check_all_completed(redis, settings, sent)
        return ended_ns
    finally:
        await redis.aclose(close_connection_pool=True)


async def _check_all_completed(redis: Redis | ArqRedis, settings: Settings, sent: dict[str, int]) -> None:
    store = TurnStore(redis, settings)
    for run_id in sent:
        record = await store.record(TurnKey.parse(run_id))
        assert record is not None, run_id
        assert (record.status.value, record.attempt) == ("completed", 1), f"{run_id}: {record.status}"


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, "throughput", rounds=3)
    parser.add_argument("--jobs", type=int, default=2000, help="jobs in one round (%(default)s)")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.jobs = 1, 500
    report = Report("throughput", args, COLUMNS)
    rounds: dict[str, list[dict[str, float]]] = {}
    for number in range(args.rounds):
        for queue in QUEUES:
            print(f"round {number + 1} of {args.rounds}: {queue.name}", file=sys.stderr)
            rounds.setdefault(queue.name, []).append(measure(queue, args.jobs))
    results = {name: medians(figures) for name, figures in rounds.items()}
    ours = results[TURNWIRE.name]["jobs/s"]
    for name, one in results.items():
        against = ratio(ours, one["jobs/s"], higher_is_better=True)
        report.row(name, one["jobs/s"], against, one["worker"], one["redis"], one["client"], one["scripted"])
    report.note(
        "Goal: at least arq's jobs/s. 100 jobs at once each; from the first job's first line to the last write."
    )
    report.note("commands: what the worker sends, without enqueuing; in scripts: what the scripts call inside Redis.")
    report.publish()


if __name__ == "__main__":
    run_main(main)
