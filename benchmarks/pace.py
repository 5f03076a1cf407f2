"""Many turns at the pace of a model, through one API, one worker and one Redis process: what an event costs.

Every turn yields 30 events a second; the number of turns rises until events come late: that is where it saturates.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence

import msgspec
import uvloop

from benchmarks.rig.measure import cpu_s, percentile, rss_mb
from benchmarks.rig.report import Report, options
from benchmarks.rig.services import redis_server, turnwire, workspace
from benchmarks.rig.tail_client import Answer, TailClient
from stack.cluster import Stack

RATE_PER_S = 30.0
OWN_EVENTS = 3
LATE_MS = 250.0  # median: beyond this the service does not keep up
STEPS = [50, 100, 200, 300, 400, 500, 600, 800]
COLUMNS = [
    "turns", "events/s", "late p50 ms", "late p99 ms", "late producers p50 ms",
    "worker core", "API core", "Redis core", "client core",
    "worker us/event", "API us/event", "Redis us/event", "worker MB", "API MB",
]  # fmt: skip


class Reading(msgspec.Struct):
    """CPU seconds of the processes, and of this one, at one moment."""

    at_s: float
    cpu_s: list[float]

    @classmethod
    def now(cls, pids: Sequence[int]) -> "Reading":
        return cls(time.monotonic(), [*map(cpu_s, pids), time.process_time()])


async def measure(stack: Stack, turns: int, seconds: float, mark: str) -> dict[str, float]:
    """One load: all turns begin within one event's time, and stream for so long."""
    assert stack.redis
    pids = [stack.worker[0].pid, stack.api[0].pid, stack.redis.pid]
    client = TailClient(stack.base_urls[0], timeout_s=seconds * 4 + 60)
    events = int(seconds * RATE_PER_S)
    load = {"events": events, "rate_per_s": RATE_PER_S, "stamp": True}
    answers: list[Answer] = []
    for number in range(turns):
        answers.append(await client.start(f"{mark}-{number}", load))
        await asyncio.sleep(1 / RATE_PER_S / turns)  # their events are spread, as those of real models are
    await asyncio.sleep(seconds * 0.2)
    first = Reading.now(pids)
    before = sum(answer.seen(b"\n{") for answer in answers)
    await asyncio.sleep(seconds * 0.5)
    last, after = Reading.now(pids), sum(answer.seen(b"\n{") for answer in answers)
    memory = [rss_mb(pid) for pid in pids]
    for answer in answers:
        await client.finish(answer)
    passed_s, count = last.at_s - first.at_s, after - before
    cpu = [after - before for before, after in zip(first.cpu_s, last.cpu_s, strict=True)]
    figures = dict(
        zip(["worker core", "API core", "Redis core", "client core"], (c / passed_s for c in cpu), strict=True)
    )
    per_event = (c * 1e6 / max(count, 1) for c in cpu[:3])
    figures |= dict(zip(["worker us/event", "API us/event", "Redis us/event"], per_event, strict=True))
    return figures | lateness(answers, events) | {
        "events/s": count / passed_s, "worker MB": memory[0], "API MB": memory[1]
    }  # fmt: skip


def lateness(answers: Sequence[Answer], produced: int) -> dict[str, float]:
    """From the making of an event to the client's line; and how far the producers fell behind their schedule."""
    late_ms, behind_ms = [], []
    for answer in answers:
        deltas = [event for event in answer.events(produced + OWN_EVENTS) if "at" in event.data]
        late_ms += [(event.at_ns - event.data["at"]) / 1e6 for event in deltas]
        took_ms = (deltas[-1].data["at"] - deltas[0].data["at"]) / 1e6
        behind_ms.append(took_ms - (produced - 1) / RATE_PER_S * 1000)
    return {
        "late p50 ms": percentile(late_ms, 50),
        "late p99 ms": percentile(late_ms, 99),
        "late producers p50 ms": statistics.median(behind_ms),
    }


def main() -> None:
    """Raise the load until it saturates; print."""
    parser = options(__doc__, "pace", rounds=1)
    parser.add_argument("--turns", type=int, nargs="*", default=STEPS, help="the loads, rising (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load (%(default)s)")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.turns, args.seconds = 1, args.turns[:2], 3.0
    report = Report("pace", args, COLUMNS)
    saturated = "not reached"
    with workspace() as directory, redis_server(directory) as redis:
        for turns in args.turns:
            print(f"{turns} turns", file=sys.stderr)
            with turnwire(directory / f"{turns}", redis, env={"TURNWIRE_MAX_JOBS": str(turns)}) as stack:
                rounds = [
                    uvloop.run(measure(stack, turns, args.seconds, f"t{turns}r{number}"))
                    for number in range(args.rounds)
                ]
            figures = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
            report.row(str(turns), *(figures[name] for name in COLUMNS[1:]))
            if figures["late p50 ms"] > LATE_MS or figures["late producers p50 ms"] > LATE_MS:
                saturated = f"at {turns} turns, {turns * RATE_PER_S:,.0f} events/s wanted"
                break
    report.note("late: made in the worker, read by the client. core: share of one core, in the middle of the load.")
    report.note(f"Saturated: {saturated} (median lateness over {LATE_MS:g} ms). The client shares the cores.")
    report.publish()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
