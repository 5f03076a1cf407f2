"""Measures what Redis keeps of a finished turn, beside the events' own bytes, and the commands per turn and event."""

import time
from collections.abc import Awaitable, Callable

import uvloop
from redis import Redis

from benchmarks.rig.monitor import Monitor
from benchmarks.rig.report import Report
from benchmarks.rig.scene import Scene, Sizes, scene
from benchmarks.rig.tail_client import TURNWIRE_EVENTS, Answer, TailClient, closed_loop
from turnwire.shared.keys import SessionKey, TurnKey

SETTLE_S = 0.3  # how long to wait after the last event, because the record is written after it
PACE_PER_S = 30.0
SHORT_EVENTS = 3


def memory(at: Scene, events: int, report: Report) -> None:
    """Measure the memory of one turn that is over: of its log, and of all keys that name its session."""
    session = f"stored{events}"
    answer = uvloop.run(whole_turn(at, session, events))
    got = answer.events(events + TURNWIRE_EVENTS)
    _, _, body = b"".join(data for _, data in answer.parts).partition(b"\r\n\r\n")
    time.sleep(SETTLE_S)
    with Redis.from_url(at.redis.url) as redis:
        log = int(redis.memory_usage(TurnKey(SessionKey("default", session), 0).events, samples=0) or 0)
        names = list(redis.scan_iter(f"*{session}*"))
        kept = sum(int(redis.memory_usage(name, samples=0) or 0) for name in names)
    assert log > len(body) / 2, "the log is not there"
    what = f"finished turn of {events:,} events"
    least = len(body) / len(got)
    report.row(f"{what}: bytes an event in the log", "", log / len(got), least, f"{100 * least * len(got) / log:.0f} %")
    report.row(
        f"{what}: KiB in its {len(names)} keys", "", kept / 1024, len(body) / 1024, f"{100 * len(body) / kept:.0f} %"
    )


async def whole_turn(at: Scene, session: str, events: int) -> Answer:
    """Ask a turn and read it to its end."""
    return await TailClient(at.stack.base_urls[0]).ask(session, {"events": events})


async def many(at: Scene, sizes: Sizes, mark: str, load: dict[str, float]) -> None:
    """Ask many turns at once, and check each answer."""
    client = TailClient(at.stack.base_urls[0])
    ask: Callable[[str], Awaitable[Answer]] = lambda name: client.ask(name, load)  # noqa: E731
    for answer in await closed_loop(ask, [f"{mark}{number}" for number in range(sizes.counted)], sizes.counted):
        answer.events(int(load["events"]) + TURNWIRE_EVENTS)


def commands(at: Scene, sizes: Sizes, mark: str, load: dict[str, float]) -> tuple[float, float]:
    """Return the commands per turn: those that clients sent, and those inside scripts."""
    with Monitor(at.redis.url) as monitor:
        uvloop.run(many(at, sizes, mark, load))
        time.sleep(SETTLE_S)
    return monitor.client / sizes.counted, monitor.scripted / sizes.counted


def run(sizes: Sizes, report: Report) -> None:
    """Measure once, because these are counts, and add the rows to the report."""
    with scene() as at:
        uvloop.run(many(at, sizes, "warm", {"events": SHORT_EVENTS}))
        for events in sizes.stored:
            memory(at, events, report)
        short = commands(at, sizes, "short", {"events": SHORT_EVENTS})
        loads = {"as fast as it comes": {}, "at 30 events/s": {"rate_per_s": PACE_PER_S}}
        kinds = ("sent", "inside scripts")
        for kind, count in zip(kinds, short, strict=True):
            report.row(f"commands a turn of {SHORT_EVENTS} events, {kind}", "", count, None, "")
        for name, pace in loads.items():
            long = commands(at, sizes, name[3:5], {"events": sizes.burst_events, **pace})
            more = sizes.burst_events - SHORT_EVENTS
            for kind, few, count in zip(kinds, short, long, strict=True):
                report.row(
                    f"commands an event more, {name}, {kind}", "", round((count - few) / more, 2) + 0.0, None, ""
                )
    report.note("The floor of memory: the bytes of the lines as a client gets them. MEMORY USAGE with SAMPLES 0.")
    report.note(f"Commands: {sizes.counted} turns at once, by MONITOR, with what API and worker send meanwhile anyway.")
