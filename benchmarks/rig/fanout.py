"""Measures one turn with a thousand readers. The floor sends the same pieces of bytes, so only the path differs."""

import asyncio
import statistics
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks.rig.measure import cpu_s, medians
from benchmarks.rig.report import Report
from benchmarks.rig.scene import Scene, Sizes, pieces, same, scene, share
from benchmarks.rig.tail_client import TURNWIRE_EVENTS, Answer, TailClient

PRODUCED_PER_S = {"as fast as it comes": 5000.0, "500/s": 500.0}  # events that the turn yields in a second
ATTACH_LIMIT_S = 60.0
ATTACHED_AT_ONCE = 100


async def attach(readers: int, connect: Callable[[], Awaitable[Answer]]) -> list[Answer]:
    """Connect `readers` readers, and wait until each has got the head of its answer."""
    found: list[Answer] = []
    async with asyncio.timeout(ATTACH_LIMIT_S):
        while len(found) < readers:
            some = min(ATTACHED_AT_ONCE, readers - len(found))
            found += await asyncio.gather(*(connect() for _ in range(some)))
            while not all(answer.parts for answer in found):  # noqa: ASYNC110 - the client only keeps bytes
                await asyncio.sleep(0.005)
    return found


async def ours(at: Scene, sizes: Sizes, name: str, rate_per_s: float) -> tuple[dict[str, float], list[int]]:
    """Measure Turnwire. The turn waits in the queue until all readers are there.

    Returns: the figures, and how many lines each piece had in which the median reader got the stream.
    """
    client, worker = TailClient(at.stack.base_urls[0], timeout_s=120), at.stack.worker[0]
    worker.pause()
    try:
        first = await client.start(name, {"events": sizes.fan_events, "rate_per_s": rate_per_s})
        readers = await attach(1, lambda: asyncio.sleep(0, first))
        readers += await attach(sizes.readers - 1, lambda: client.follow(name))
        before_s = cpu_s(at.stack.api[0].pid)
    finally:
        worker.resume()
    await asyncio.gather(*map(client.finish, readers))
    spent_s = cpu_s(at.stack.api[0].pid) - before_s
    cuts = sorted(map(pieces, readers), key=len)
    return figures(readers, sizes, spent_s), cuts[len(cuts) // 2]


async def least(at: Scene, sizes: Sizes, cuts: list[int]) -> dict[str, float]:
    """Measure the floor with the same readers and bytes. The last reader starts the stream."""
    client = TailClient(at.floor_url, timeout_s=120)
    wanted = {"events": sizes.fan_events, "pieces": cuts, "readers": sizes.readers}
    readers = await attach(sizes.readers - 1, lambda: client.start("fan", wanted))
    before_s = cpu_s(at.floor.pid)
    readers.append(await client.start("fan", wanted))
    await asyncio.gather(*map(client.finish, readers))
    return figures(readers, sizes, cpu_s(at.floor.pid) - before_s)


def figures(readers: list[Answer], sizes: Sizes, spent_s: float) -> dict[str, float]:
    """Check the answers, and return their figures."""
    spans = same(readers, sizes.fan_events + TURNWIRE_EVENTS)
    events = len(readers) * (sizes.fan_events + TURNWIRE_EVENTS)
    took_s = (max(last for _, last in spans) - min(first for first, _ in spans)) / 1e9
    writes = statistics.mean(len(pieces(answer)) for answer in readers)
    return {"events/s": events / took_s, "us/event": spent_s * 1e6 / events, "writes": writes}


def run(sizes: Sizes, report: Report) -> None:
    """Measure Turnwire and the floor in turn, and add the rows to the report."""
    with scene() as at:
        for pace, rate_per_s in PRODUCED_PER_S.items():
            rounds = []
            for number in range(sizes.rounds):
                got, cuts = uvloop.run(ours(at, sizes, f"fan{rate_per_s:.0f}-{number}", rate_per_s))
                rounds.append((got, uvloop.run(least(at, sizes, cuts))))
            table(report, f"1 turn, {pace}, to {sizes.readers:,} readers", *map(medians, zip(*rounds, strict=True)))
    report.note("The floor sends the lines in the pieces in which the median reader of ours got them in that round,")
    report.note("all at once: at 500/s the turn's own second bounds our events/s, and CPU per event is what compares.")


def table(report: Report, what: str, one: dict[str, float], other: dict[str, float]) -> None:
    """Add three rows to the report."""
    bounded = "500/s" in what
    rate = "" if bounded else share(one["events/s"], other["events/s"], higher_is_better=True)
    report.row(f"{what}: events/s", "" if bounded else ">= 80 %", one["events/s"], other["events/s"], rate)
    cpu = share(one["us/event"], other["us/event"], higher_is_better=False)
    report.row(f"{what}: API us/event", "", one["us/event"], other["us/event"], cpu)
    report.row(f"{what}: writes to a reader", "", one["writes"], other["writes"], "")
