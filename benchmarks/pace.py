"""Measures what an event costs while many turns stream at the pace of a model, through one API, worker and Redis.

Every turn yields 30 events a second. The number of turns rises until events come late, which shows the saturation.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

import msgspec
import uvloop

from benchmarks.rig.measure import cpu_s, medians, p50_p99, rss_mb
from benchmarks.rig.report import Report, options, run_main
from benchmarks.rig.services import redis_server, turnwire, workspace
from benchmarks.rig.tail_client import TURNWIRE_EVENTS, TailClient, WrongAnswerError
from stack.cluster import Stack

RATE_PER_S = 30.0
STARTS_PER_S = 100.0  # how many turns begin in a second
SETTLE_S = 1.0  # from the start of the last turn to the measured time, and from there to the end of the first turn
LATE_MS = 250.0  # if the median is later than this, the service does not keep up
KEPT = 0.95  # if a smaller share of the wanted events arrives, it does not keep up either
STEPS = [50, 100, 200, 300, 500, 800, 1000, 1300, 1600]
COLUMNS = [
    "turns", "events/s", "late ms p50", "late ms p99",
    "worker core", "API core", "Redis core", "client core",
    "worker us/event", "API us/event", "Redis us/event", "worker MB", "API MB",
]  # fmt: skip


class Reading(msgspec.Struct):
    """CPU seconds of the processes, and of this one, at one moment."""

    at_ns: int
    cpu_s: list[float]

    @classmethod
    def now(cls, pids: Sequence[int]) -> "Reading":
        return cls(time.monotonic_ns(), [*map(cpu_s, pids), time.process_time()])


async def measure(stack: Stack, turns: int, seconds: float, mark: str) -> dict[str, float]:
    """Measure one load for `seconds`. The turns begin one after the other, and the time counts from the last one."""
    assert stack.redis
    pids = [stack.worker[0].pid, stack.api[0].pid, stack.redis.pid]
    ramp_s = turns / STARTS_PER_S
    events = int((ramp_s + seconds + SETTLE_S * 2) * RATE_PER_S)
    client = TailClient(stack.base_urls[0], timeout_s=events / RATE_PER_S * 3 + 30)
    load = {"events": events, "rate_per_s": RATE_PER_S, "stamp": True}
    answers, began_s = [], time.monotonic()
    for number in range(turns):
        await asyncio.sleep(max(0.0, began_s + number / STARTS_PER_S - time.monotonic()))
        answers.append(await client.start(f"{mark}-{number}", load))
    await asyncio.sleep(SETTLE_S)
    first = Reading.now(pids)
    await asyncio.sleep(seconds)
    last = Reading.now(pids)
    memory = [rss_mb(pid) for pid in pids]
    await asyncio.gather(*map(client.finish, answers))
    made = [event for answer in answers for event in answer.events(events + TURNWIRE_EVENTS) if "at" in event.data]
    made = [event for event in made if first.at_ns <= event.data["at"] < last.at_ns]
    passed_s = (last.at_ns - first.at_ns) / 1e9
    cpu = [after - before for before, after in zip(first.cpu_s, last.cpu_s, strict=True)]
    late_ms = [(event.at_ns - event.data["at"]) / 1e6 for event in made]
    names = ["worker", "API", "Redis", "client"]
    return (
        {"events/s": len(made) / passed_s, "worker MB": memory[0], "API MB": memory[1]}
        | p50_p99(late_ms, "late ms")
        | {f"{name} core": spent / passed_s for name, spent in zip(names, cpu, strict=True)}
        | {f"{name} us/event": spent * 1e6 / len(made) for name, spent in zip(names, cpu, strict=True)}
    )


def main() -> None:
    """Raise the load until the service saturates, and print the figures."""
    parser = options(__doc__, "pace", rounds=1)
    parser.add_argument("--turns", type=int, nargs="*", default=STEPS, help="the numbers of turns (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each load is measured (%(default)s)")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.turns, args.seconds = 1, args.turns[:2], 3.0
    report = Report("pace", args, COLUMNS)
    saturated = "not reached"
    with workspace() as directory, redis_server(directory) as redis:
        for turns in args.turns:
            print(f"{turns} turns", file=sys.stderr)
            wanted = turns * RATE_PER_S
            try:
                with turnwire(directory / f"{turns}", redis, env={"TURNWIRE_MAX_JOBS": str(turns)}) as stack:
                    figures = medians(
                        [
                            uvloop.run(measure(stack, turns, args.seconds, f"t{turns}r{number}"))
                            for number in range(args.rounds)
                        ]
                    )
            except WrongAnswerError as error:
                saturated = f"at {turns} turns, {wanted:,.0f} events/s wanted: {str(error).partition(chr(13))[0]}"
                break
            report.row(str(turns), *(figures[name] for name in COLUMNS[1:]))
            if figures["late ms p50"] > LATE_MS or figures["events/s"] < wanted * KEPT:
                saturated = f"at {turns} turns, {wanted:,.0f} events/s wanted"
                break
    report.note("late: from made in the worker to read by the client. core: share of one core. All turns stream.")
    report.note(f"Saturated: {saturated}. The client shares the cores.")
    report.publish()


if __name__ == "__main__":
    run_main(main)
