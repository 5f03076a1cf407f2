"""One of many turns blocks the event loop of its worker for longer than a lease: what do the others lose?

The code of one turn computes for seconds without giving up control, after its first event. The other turns of the same
worker stand still meanwhile. None of them may lose its lease, because then another worker would call its model again,
and somebody would pay twice. The ledger of each turn says how often it was billed: a row for each attempt.
"""

import argparse
import asyncio
import itertools
import sys
from dataclasses import dataclass

import httpx
import uvloop

from benchmarks.rig.report import Report, options, run_main
from benchmarks.rig.services import redis_server, turnwire, workspace
from benchmarks.rig.tail_client import TURNWIRE_EVENTS, Answer, TailClient
from stack.cluster import Stack
from turnwire.shared.keys import session_key
from turnwire.shared.store.connect import connect

LEASE_MS = 5000  # the default
EVENTS, RATE_PER_S = 60, 10.0  # of each of the other turns, which would run for 6 s without the block
START_LIMIT_S = 20.0


@dataclass(frozen=True)
class Outcome:
    """The results of the turns of one round."""

    neighbours: int  # how many turns ran on the worker that was blocked
    lost: int  # how many of these, without the one that blocked, changed their worker
    billed_twice: int  # how many of all turns
    silence_s: float  # the longest pause between two events of a neighbour
    elsewhere_s: float  # the longest pause of a turn on another worker


async def measure(stack: Stack, turns: int, block_s: float) -> Outcome:
    """Start all turns but one at once. The last one starts when each of the others has begun, and blocks its worker."""
    client = TailClient(stack.base_urls[0], timeout_s=60 + 3 * block_s)
    names = [f"turn{number}" for number in range(1, turns)]
    load = {"events": EVENTS, "rate_per_s": RATE_PER_S}
    answers = {name: await client.start(name, load) for name in names}
    async with asyncio.timeout(START_LIMIT_S):
        while not all(answer.seen(b'"delta"') for answer in answers.values()):  # noqa: ASYNC110 - see takeover
            await asyncio.sleep(0.01)
    answers["blocking"] = await client.start("blocking", {"events": 1, "block_s": block_s})
    owners = await owners_of(stack, [*names, "blocking"])
    for answer in answers.values():
        await client.finish(answer)
    beside = [name for name in names if owners[name] == owners["blocking"]]
    elsewhere = [name for name in names if name not in beside]
    billed = [await rows_of(stack.base_urls[0], name) for name in answers]
    for name in names:
        answers[name].events(EVENTS + TURNWIRE_EVENTS + was_resumed(answers[name]), resumed=True)
    return Outcome(
        neighbours=len(beside),
        lost=sum(was_resumed(answers[name]) for name in names),
        billed_twice=sum(rows > 1 for rows in billed),
        silence_s=max((longest_pause_s(answers[name]) for name in beside), default=0.0),
        elsewhere_s=max((longest_pause_s(answers[name]) for name in elsewhere), default=0.0),
    )


async def owners_of(stack: Stack, names: list[str]) -> dict[str, str]:
    """Return which worker has the lease of each turn."""
    assert stack.redis
    redis = connect(stack.redis.url, connections=1)
    try:
        leases = [session_key(name).turn(0).lease for name in names]
        async with asyncio.timeout(START_LIMIT_S):
            while not all(held := await redis.mget(leases)):  # noqa: ASYNC110 - another process writes them
                await asyncio.sleep(0.01)
        return {name: lease.decode().rpartition("#")[0] for name, lease in zip(names, held, strict=True)}
    finally:
        await redis.aclose(close_connection_pool=True)


async def rows_of(base_url: str, name: str) -> int:
    """Return how many attempts of the turn were billed."""
    async with httpx.AsyncClient(base_url=base_url, trust_env=False) as http:
        answer = await http.get(f"/v1/sessions/{name}/turns/0/ledger")
        answer.raise_for_status()
        return len(answer.json()["rows"])


def was_resumed(answer: Answer) -> bool:
    """Return whether another worker took the turn over."""
    return any(event.type == "session.run.resumed" for event in answer.lines())


def longest_pause_s(answer: Answer) -> float:
    """Return the longest pause between two events, as the client saw it."""
    times = [event.at_ns for event in answer.lines()]
    return max(later - earlier for earlier, later in itertools.pairwise(times)) / 1e9


def rounds_of(args: argparse.Namespace) -> list[Outcome]:
    """Measure all rounds, each on processes of its own."""
    found = []
    for number in range(args.rounds):
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
        env = {"TURNWIRE_LEASE_MS": str(LEASE_MS)}
        with (
            workspace() as directory,
            redis_server(directory) as redis,
            turnwire(directory, redis, workers=args.workers, env=env) as stack,
        ):
            found.append(uvloop.run(measure(stack, args.turns, args.seconds)))
    return found


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, "blocked", rounds=3)
    parser.add_argument("--seconds", type=float, default=9.0, help="of blocking code (%(default)s)")
    parser.add_argument("--turns", type=int, default=50, help="in one round (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="(%(default)s)")
    args = parser.parse_args()
    if args.quick:
        args.rounds = 1
    outcomes = rounds_of(args)
    report = Report("blocked", args, ["", "figure", "goal"])
    report.row("turns, one of which blocks in each round", str(args.turns * len(outcomes)), "")
    report.row("of them on the blocked worker", str(sum(one.neighbours for one in outcomes)), "")
    report.row("other turns that lost their lease", str(sum(one.lost for one in outcomes)), "0")
    report.row("turns that were billed twice", str(sum(one.billed_twice for one in outcomes)), "0")
    report.row("longest silence on the blocked worker, s", max(one.silence_s for one in outcomes), "")
    report.row("longest silence on another worker, s", max(one.elsewhere_s for one in outcomes), "")
    report.note(f"Lease {LEASE_MS} ms, {args.workers} workers.")
    report.publish()


if __name__ == "__main__":
    run_main(main)
