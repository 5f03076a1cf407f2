"""Both ends of a job's way write down the time: CLOCK_MONOTONIC is one clock for all processes of a machine.

Standard library only: it runs in every system's own interpreter.
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from time import monotonic, monotonic_ns
from typing import Any

AT_ONCE = 32  # enqueue calls in flight while a backlog is built

_starts = os.environ.get("BENCH_STARTS")
_file = os.open(_starts, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if _starts else -1


def stamp_start(job: str) -> None:
    """First line of a job: one short append, so lines of several processes never mix."""
    if _file >= 0:
        os.write(_file, b"%s %d\n" % (job.encode(), monotonic_ns()))


def read_stamps(path: Path) -> dict[str, int]:
    """Job -> ns. A job that is stamped twice was run twice, which is an error of the system under test."""
    text = path.read_text() if path.exists() else ""
    lines = [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]  # the last one may be half written
    stamps = {job: int(at_ns) for job, at_ns in lines}
    assert len(stamps) == len(lines), "a job ran more than once"
    return stamps


async def drive(enqueue: Callable[[str], Awaitable[object]]) -> None:
    """Enqueue BENCH_JOBS jobs, at BENCH_RATE a second with Poisson arrivals or (0) as fast as they are taken.

    The time of each, from before its enqueue call, goes to BENCH_SENT.
    """
    name = os.environ["BENCH_NAME"]
    jobs = [f"chat:{name}-{number}:0" for number in range(int(os.environ["BENCH_JOBS"]))]
    rate = float(os.environ.get("BENCH_RATE", "0"))
    sent: list[str] = []

    async def one(job: str) -> None:
        at_ns = monotonic_ns()
        await enqueue(job)
        sent.append(f"{job} {at_ns}\n")

    if rate:
        await _arrivals(one, jobs, rate)
    else:
        for first in range(0, len(jobs), AT_ONCE):
            await asyncio.gather(*map(one, jobs[first : first + AT_ONCE]))
    with open(os.environ["BENCH_SENT"], "w") as file:  # noqa: ASYNC230 - everything else is over
        file.writelines(sent)


async def _arrivals(one: Callable[[str], Coroutine[Any, Any, None]], jobs: list[str], rate: float) -> None:
    dice, at_s = random.Random(7), monotonic()
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            at_s += dice.expovariate(rate)
            await asyncio.sleep(max(0.0, at_s - monotonic()))
            group.create_task(one(job))
