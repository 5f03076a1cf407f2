"""Measures the time from the POST of a signal to the next events of a suspended turn, on the client's own connection.

resumed: the line `session.run.resumed`, which the claim writes. first event: the first event that the producer makes
after the signal; by then its steps were read back and its early events compared. Signals are sent to suspended turns at
random moments, one after the other, each on a connection of its own. Every stream is checked to its end.
"""

import argparse
import asyncio
import random
import sys

import uvloop

from benchmarks.rig.measure import medians, p50_p99
from benchmarks.rig.report import Report, options, run_main
from benchmarks.rig.services import redis_server, turnwire, workspace
from benchmarks.rig.tail_client import Answer, Event, TailClient

LOAD = {"events": 3, "signal": "go"}
EVENTS = 1 + 3 + 1 + 1 + 1 + 2  # started, deltas, suspended, resumed, the signal's event, result, completed
LONGEST_PAUSE_S = 0.1
LIMIT_S = 60.0


async def suspended(answers: list[Answer]) -> None:
    """Wait until every client has been told that its turn waits."""
    async with asyncio.timeout(LIMIT_S):
        while not all(answer.seen(b"session.run.suspended") for answer in answers):  # noqa: ASYNC110 - as in takeover
            await asyncio.sleep(0.01)


async def measure(base_url: str, names: list[str]) -> dict[str, float]:
    """Suspend a turn for each name, then signal one after the other. Returns the percentiles in ms."""
    client, dice = TailClient(base_url, timeout_s=LIMIT_S), random.Random(7)
    answers = {name: await client.start(name, LOAD) for name in names}
    await suspended(list(answers.values()))
    sent_ns = {}
    for name, answer in answers.items():
        await asyncio.sleep(dice.uniform(0, LONGEST_PAUSE_S))
        posted = await client.signal(name, "go")
        sent_ns[name] = posted.sent_ns
        await client.finish(answer)
    found = [late_ms(answer, sent_ns[name]) for name, answer in answers.items()]
    resumed, first = zip(*found, strict=True)
    return {**p50_p99(resumed, "resumed"), **p50_p99(first, "first")}


def late_ms(answer: Answer, sent_ns: int) -> tuple[float, float]:
    """Return the ms from the signal to `resumed` and to the first event, of a turn whose stream was checked."""
    events = answer.events(EVENTS, resumed=True)
    resumed, first = (one_of(events, kind) for kind in ("session.run.resumed", "signal"))
    assert resumed.data["reason"] == "signal", resumed
    return (resumed.at_ns - sent_ns) / 1e6, (first.at_ns - sent_ns) / 1e6


def one_of(events: list[Event], kind: str) -> Event:
    """Return the event of a type that comes exactly once."""
    [found] = [event for event in events if event.type == kind]
    return found


def rounds_of(args: argparse.Namespace) -> list[dict[str, float]]:
    """Measure all rounds, each on processes of its own."""
    found = []
    for number in range(args.rounds):
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
        with (
            workspace() as directory,
            redis_server(directory) as redis,
            turnwire(directory, redis, workers=args.workers) as stack,
        ):
            found.append(uvloop.run(measure(stack.base_urls[0], [f"turn{one}" for one in range(args.signals)])))
    return found


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, "signals", rounds=3)
    parser.add_argument("--signals", type=int, default=300, help="signals in one round (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (%(default)s)")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.signals = 1, 50
    report = Report("signals", args, ["from the POST of the signal to", "p50 ms", "p99 ms", "goal, p50 ms"])
    figures = medians(rounds_of(args))
    report.row("session.run.resumed", figures["resumed p50"], figures["resumed p99"], "<= 50")
    report.row("the producer's next event", figures["first p50"], figures["first p99"], "")
    report.publish()


if __name__ == "__main__":
    run_main(main)
