"""Measures how long a tenant with few turns waits while another tenant floods the queue.

One tenant asks a turn now and then, first alone, then after another one has asked thousands of turns at once. A turn of
the flood streams for a while, as a model does, so all slots of the workers are taken. Dispatch: from the submit to the
first line of the product.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import uvloop

from benchmarks.rig.measure import medians, p50_p99
from benchmarks.rig.report import Report, options, run_main
from benchmarks.rig.services import LOAD_HOOKS, running, workspace
from benchmarks.rig.systems.stamps import read_stamps
from stack.cluster import bare_environment
from stack.process import Service
from stack.redis_server import RedisServer
from turnwire.shared.keys import SessionKey
from turnwire.shared.request import TurnRequest
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore

START_LIMIT_S = 30.0
AT_ONCE = 64
LOOK_S = 0.05
RUN_LIMIT_S = 30.0


class Client:
    """Asks turns as the API does, and knows when."""

    def __init__(self, redis_url: str) -> None:
        settings = Settings(redis_url=redis_url, redis_connections=16, max_queued=1_000_000)
        self._redis = connect(redis_url, connections=16)
        self._store, self._queue = TurnStore(self._redis, settings), TurnQueue(self._redis, settings)

    async def ask(self, tenant: str, session: str, load: dict[str, float]) -> tuple[str, int]:
        """Ask one turn. Returns its run id, and when the submit began."""
        key, sent_ns = SessionKey(tenant, session).turn(0), time.monotonic_ns()
        await self._store.submit(key, TurnRequest(message="go", metadata=load))
        await self._queue.enqueue(key.run_id)
        return key.run_id, sent_ns

    async def aclose(self) -> None:
        await self._redis.aclose(close_connection_pool=True)


async def lone(client: Client, mark: str, args: argparse.Namespace) -> dict[str, int]:
    """Ask turns of the quiet tenant at random times. Returns run id -> when it was asked."""
    dice, sent = random.Random(7), {}
    for number in range(args.turns):
        await asyncio.sleep(dice.expovariate(args.rate))
        run_id, at_ns = await client.ask("quiet", f"{mark}{number}", {"events": 1})
        sent[run_id] = at_ns
    return sent


async def waits_ms(sent: dict[str, int], starts: Path) -> list[float]:
    """Wait until these turns have begun. Returns how long each has waited."""
    async with asyncio.timeout(RUN_LIMIT_S):
        while not sent.keys() <= (stamps := read_stamps(starts)).keys():  # noqa: ASYNC110 - written elsewhere
            await asyncio.sleep(LOOK_S)
    return [(stamps[run_id] - at_ns) / 1e6 for run_id, at_ns in sent.items()]


async def measure(redis_url: str, starts: Path, args: argparse.Namespace) -> dict[str, float]:
    """One round, on idle workers."""
    client = Client(redis_url)
    await lone(client, "warm", argparse.Namespace(turns=5, rate=20))
    idle = await waits_ms(await lone(client, "idle", args), starts)
    load, dice = {"events": args.events, "rate_per_s": args.events / args.seconds}, random.Random(3)

    def flood_load() -> dict[str, float]:
        return load | {"rate_per_s": load["rate_per_s"] / dice.uniform(1 - args.spread, 1 + args.spread)}

    for begin in range(0, args.flood, AT_ONCE):
        names = [f"f{number}" for number in range(begin, min(begin + AT_ONCE, args.flood))]
        await asyncio.gather(*(client.ask("flood", name, flood_load()) for name in names))
    flooded = await waits_ms(await lone(client, "flooded", args), starts)
    begun = sum(run_id.startswith("chat:flood~") for run_id in read_stamps(starts))
    assert begun < args.flood, "the flood was over before the end of the measurement: ask more turns, or longer ones"
    await client.aclose()
    return p50_p99(idle, "idle") | p50_p99(flooded, "flooded") | {"begun": float(begun)}


def wait_until_ready(worker: Service) -> None:
    """Wait until the worker takes jobs."""
    worker.wait_until(lambda: "worker ready" in worker.log(), START_LIMIT_S)


def run_round(args: argparse.Namespace) -> dict[str, float]:
    """Start everything afresh and measure."""
    with ExitStack() as stack:
        directory = stack.enter_context(workspace())
        redis = stack.enter_context(RedisServer(directory / "redis", port=0))
        starts = directory / "starts"
        env = bare_environment() | LOAD_HOOKS | {
            "TURNWIRE_REDIS_URL": redis.url, "TURNWIRE_MAX_JOBS": str(args.slots), "TURNWIRE_DRAIN_S": "0",
            "TURNWIRE_RESERVED_SLOTS": str(args.reserved),
            "BENCH_STARTS": str(starts),
        }  # fmt: skip
        for number in range(args.workers):
            worker = stack.enter_context(running(directory, f"worker{number}", ["-m", "worker"], env))
            wait_until_ready(worker)
        return uvloop.run(measure(redis.url, starts, args))


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options(__doc__, "fairness", rounds=3)
    parser.add_argument("--flood", type=int, default=10_000, help="turns of the flood (%(default)s)")
    parser.add_argument("--turns", type=int, default=60, help="of the quiet tenant, in each phase (%(default)s)")
    parser.add_argument("--rate", type=float, default=1.0, help="of the quiet tenant, turns a second (%(default)s)")
    parser.add_argument("--events", type=int, default=10, help="of a turn of the flood (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="that a turn of the flood streams (%(default)s)")
    parser.add_argument(
        "--spread", type=float, default=0.0, help="the share by which turns differ from these seconds (%(default)s)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--slots", type=int, default=100, help="of each worker (%(default)s)")
    parser.add_argument("--reserved", type=int, default=10, help="of these slots (%(default)s)")
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.flood, args.turns, args.rate = 1, 4000, 20, 2.0
    return args


def main() -> None:
    """Measure and print."""
    args = parsed()
    report = Report("fairness", args, ["the quiet tenant's dispatch", "p50 ms", "p99 ms"])
    rounds = []
    for number in range(args.rounds):
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
        rounds.append(run_round(args))
    figures = medians(rounds)
    report.row("alone", figures["idle p50"], figures["idle p99"])
    report.row("beside the flood", figures["flooded p50"], figures["flooded p99"])
    per_slot_ms = 1000 * args.seconds / (args.workers * args.slots)
    times = figures["flooded p99"] / figures["idle p99"]
    report.note(f"p99 beside the flood: {times:.1f} times that alone. Goal: at most 2 times.")
    report.note(f"All other slots are taken; one of them becomes free every {per_slot_ms:.1f} ms.")
    report.publish()


if __name__ == "__main__":
    run_main(main)
