"""Measures memory, Redis connections and CPU of one API process with ten thousand tails on which nothing happens.

Afterwards the turns are cancelled. Every tail must then get its end, which shows that it was alive all the time.
"""

import asyncio
import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import uvloop

from benchmarks.rig.fanout import attach
from benchmarks.rig.measure import cpu_s, rss_mb
from benchmarks.rig.report import Report
from benchmarks.rig.scene import Scene, Sizes, scene
from benchmarks.rig.tail_client import Answer, TailClient, WrongAnswerError

HELD = {"events": 1, "rate_per_s": 1 / 3600}  # one event in an hour
SETTLE_S = 1.0
SPARE_FDS = 500
MAX_JOBS = "100"  # how many turns run at a time; the others wait in the queue


def raise_fd_limit(wanted: int) -> int:
    """Raise the limit of open files for this process and its children. Returns the limit, which may be lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(soft, allowed)


def connections(pid: int, port: int) -> int:
    """Count the TCP connections of a process to this port (Linux only)."""
    own = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            own.add(os.readlink(entry))
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[2].partition(":")[2], 16) == port and f"socket:[{row[9]}]" in own for row in rows)


async def measure(at: Scene, sizes: Sizes) -> dict[str, float]:
    """Measure once."""
    url, pid = at.stack.base_urls[0], at.stack.api[0].pid
    client = TailClient(url, timeout_s=60)
    (await client.ask("warm", {"events": 3})).events(6)
    names = [f"held{number}" for number in range(sizes.tailed_turns)]
    firsts = await attach_to(client, names)
    await asyncio.sleep(SETTLE_S)
    before_mb = rss_mb(pid)
    tails = await attach_more(client, names, sizes.tails)
    await asyncio.sleep(SETTLE_S)
    figures = {"KiB per tail": (rss_mb(pid) - before_mb) * 1e6 / 1024 / len(tails)}
    figures["connections"] = connections(pid, int(at.redis.url.rpartition(":")[2].partition("/")[0]))
    before = [cpu_s(one) for one in (pid, at.redis.pid)]
    await asyncio.sleep(sizes.idle_s)
    spent = [cpu_s(one) - was for one, was in zip((pid, at.redis.pid), before, strict=True)]
    figures |= {"API CPU %": 100 * spent[0] / sizes.idle_s, "Redis CPU %": 100 * spent[1] / sizes.idle_s}
    await cancel(url, names)
    for answer in [*firsts, *tails]:
        check(await client.finish(answer))
    return figures


async def attach_to(client: TailClient, names: Sequence[str]) -> list[Answer]:
    """Connect one reader for each turn. It starts the turn."""
    left = iter(names)
    return await attach(len(names), lambda: client.start(next(left), HELD))


async def attach_more(client: TailClient, names: Sequence[str], count: int) -> list[Answer]:
    """Connect `count` more readers, spread evenly over the turns."""
    left = iter([names[number % len(names)] for number in range(count)])
    return await attach(count, lambda: client.follow(next(left)))


async def cancel(url: str, names: Sequence[str]) -> None:
    """Cancel all turns."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        for name in names:
            answer = await http.post(f"/v1/sessions/{name}/turns/0/cancel")
            assert answer.status_code in {200, 202}, answer.text


def check(answer: Answer) -> None:
    """Check that a reader got nothing but the end, and the start if the turn ran."""
    types = [event.type for event in answer.lines()]
    if types[-1:] != ["session.run.failed"] or types[:-1] not in ([], ["session.run.started"]):
        raise WrongAnswerError(f"an idle tail got {types}")


def run(sizes: Sizes, report: Report) -> None:
    """Measure once, and add the rows to the report. A second round would not see the memory come back."""
    beside = sizes.tailed_turns + SPARE_FDS
    allowed = raise_fd_limit(sizes.tails + beside)
    if allowed < sizes.tails + beside:
        sizes = replace(sizes, tails=allowed - beside)
        report.note(f"The system lets a process have {allowed:,} files: fewer tails than wanted.")
    with scene({"TURNWIRE_MAX_JOBS": MAX_JOBS}) as at:
        figures = uvloop.run(measure(at, sizes))
        floor = uvloop.run(least(at, sizes))
    what = f"{sizes.tails:,} idle tails on {sizes.tailed_turns:,} turns"
    report.row(
        f"{what}: KiB per tail",
        "<= 20",
        figures["KiB per tail"],
        floor,
        f"{100 * floor / figures['KiB per tail']:.0f} %",
    )
    report.row(f"{what}: Redis connections of the API", "<= 8", figures["connections"], None, "")
    report.row(f"{what}: API CPU, % of a core over {sizes.idle_s:g} s", "<= 5", figures["API CPU %"], None, "")
    report.row(f"{what}: Redis CPU, % of a core over {sizes.idle_s:g} s", "", figures["Redis CPU %"], None, "")
    report.note(
        "KiB: growth of the resident memory. The floor's connections wait in a bare ASGI app. All tails ended well."
    )


async def least(at: Scene, sizes: Sizes) -> float:
    """Return the KiB of memory for each connection that waits at the floor."""
    client = TailClient(at.floor_url, timeout_s=60)
    wanted = {"events": 1, "readers": sizes.tails}
    before_mb = rss_mb(at.floor.pid)
    waiting = await attach(sizes.tails - 1, lambda: client.start("idle", wanted))
    await asyncio.sleep(SETTLE_S)
    grown = (rss_mb(at.floor.pid) - before_mb) * 1e6 / 1024 / len(waiting)
    waiting.append(await client.start("idle", wanted))
    for answer in waiting:
        (await client.finish(answer)).events(4)
    return grown
