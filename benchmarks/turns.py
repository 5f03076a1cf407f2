"""Measures whole turns over HTTP, beside a naive service on stock arq with the same client and the same events."""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import uvloop

from benchmarks.rig.measure import medians, p50_p99, rss_mb
from benchmarks.rig.report import Report, options, ratio, run_main
from benchmarks.rig.services import Target, naive, redis_server, turnwire, workspace
from benchmarks.rig.tail_client import TURNWIRE_EVENTS, Answer, TailClient, closed_loop

IDLE_S = 1.0  # how long the services are idle before their memory is read
LONGEST_PAUSE_S = 0.5  # the longest pause between two lone turns, which is the time between two polls of arq


@dataclass(frozen=True)
class Sizes:
    """The number of turns and events in one round."""

    lone: int = 40
    at_once: int = 100
    burst: int = 300
    paced: int = 100
    paced_events: int = 100
    rate_per_s: float = 30.0


QUICK = Sizes(lone=10, burst=100, paced_events=30)
TINY = Sizes(lone=2, at_once=5, burst=5, paced=5, paced_events=5)  # for the smoke test

# figure -> (how it is printed, goal, is more better?)
FIGURES = {
    "lone first p50": ("lone turn: POST to first event, p50 ms", "<= 25", False),
    "lone first p99": ("lone turn: POST to first event, p99 ms", "", False),
    "lone whole p50": ("lone turn, 3 events: POST to end, p50 ms", "", False),
    "burst turns": ("100 at once x 50 events: turns/s", ">= 140", True),
    "burst events": ("100 at once x 50 events: events/s", ">= 7,000", True),
    "burst first p50": ("100 at once x 50 events: first event, p50 ms", "", False),
    "burst first p99": ("100 at once x 50 events: first event, p99 ms", "", False),
    "paced whole": ("100 turns at 30 events/s x 100 events: all done, s", "<= 4.5", False),
    "api rss": ("API, idle: resident MB", "<= 80", False),
    "worker rss": ("worker, idle: resident MB", "<= 80", False),
}


async def measure(target: Target, sizes: Sizes, mark: str) -> dict[str, float]:
    """Measure one round of one service."""
    client = TailClient(target.base_url, timeout_s=120)
    figures: dict[str, float] = {}

    async def ask(name: str, **metadata: float) -> Answer:
        return await client.ask(f"{mark}-{name}", metadata)

    await ask("warm", events=3)
    dice, lone = random.Random(7), []
    for number in range(sizes.lone):
        await asyncio.sleep(dice.uniform(0, LONGEST_PAUSE_S))  # otherwise each would begin just after a poll of arq
        lone.append(await ask(f"lone{number}", events=3))
    figures |= p50_p99([first_ms(answer, 3) for answer in lone], "lone first")
    figures |= p50_p99([whole_ms(answer) for answer in lone], "lone whole")

    began = time.monotonic()
    names = [f"burst{number}" for number in range(sizes.burst)]
    burst = await closed_loop(lambda name: ask(name, events=50), names, sizes.at_once)
    took_s = time.monotonic() - began
    figures |= p50_p99([first_ms(answer, 50) for answer in burst], "burst first")
    figures |= {"burst turns": len(burst) / took_s, "burst events": len(burst) * (50 + TURNWIRE_EVENTS) / took_s}

    began = time.monotonic()
    names = [f"paced{number}" for number in range(sizes.paced)]
    load = {"events": sizes.paced_events, "rate_per_s": sizes.rate_per_s}
    paced = await closed_loop(lambda name: ask(name, **load), names, len(names))
    figures["paced whole"] = time.monotonic() - began
    for answer in paced:
        answer.events(sizes.paced_events + TURNWIRE_EVENTS)
    return figures


def first_ms(answer: Answer, produced: int) -> float:
    """Check an answer, and return the ms from the POST to its first event."""
    return (answer.events(produced + TURNWIRE_EVENTS)[0].at_ns - answer.sent_ns) / 1e6


def whole_ms(answer: Answer) -> float:
    """Return the ms from the POST to the last event."""
    return (answer.lines()[-1].at_ns - answer.sent_ns) / 1e6


@contextmanager
def targets(naive_max_jobs: Sequence[int]) -> Iterator[list[Target]]:
    """Start Turnwire and the naive services on one Redis server. All are idle but the one that is measured."""
    with ExitStack() as stack:
        directory = stack.enter_context(workspace())
        redis = stack.enter_context(redis_server(directory))
        ours = stack.enter_context(turnwire(directory, redis))
        found = [Target("Turnwire", ours.base_urls[0], ours.api[0].pid, ours.worker[0].pid)]
        for database, max_jobs in enumerate(naive_max_jobs, 1):
            found.append(stack.enter_context(naive(directory, redis, max_jobs=max_jobs, database=database)))
        yield found


def run(args: argparse.Namespace, sizes: Sizes) -> dict[str, dict[str, float]]:
    """Measure all rounds, taking the services in turn. Returns the medians by service."""
    rounds: dict[str, list[dict[str, float]]] = {}
    with targets([10] if args.tiny else [10, 100]) as services:
        time.sleep(IDLE_S)
        memory = {one.name: {"api rss": rss_mb(one.api_pid), "worker rss": rss_mb(one.worker_pid)} for one in services}
        for number in range(args.rounds):
            for target in services:
                print(f"round {number + 1} of {args.rounds}: {target.name}", file=sys.stderr)
                figures = uvloop.run(measure(target, sizes, f"r{number}"))
                rounds.setdefault(target.name, []).append(figures | memory[target.name])
    return {name: medians(figures) for name, figures in rounds.items()}


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, "turns", rounds=3)
    parser.add_argument("--tiny", action="store_true", help="a smoke test: the figures mean nothing")
    args = parser.parse_args()
    sizes = TINY if args.tiny else QUICK if args.quick else Sizes()
    if args.quick or args.tiny:
        args.rounds = 1
    began = Report("turns", args, [])  # reads the machine's load before this benchmark adds to it
    results = run(args, sizes)
    ours, *others = results
    began.columns = ["", "goal", *results, *(f"against {name}" for name in others)]
    for figure, (title, goal, more) in FIGURES.items():
        values = [results[name][figure] for name in results]
        ratios = [ratio(results[ours][figure], results[name][figure], higher_is_better=more) for name in others]
        began.row(title, goal, *values, *ratios)
    began.note("Medians of the rounds; 'against' says how many times better ours is. arq: the default arq.Worker.")
    began.publish()


if __name__ == "__main__":
    run_main(main)
