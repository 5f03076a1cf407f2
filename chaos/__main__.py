"""`python3 dev.py chaos --minutes N [--seed S]`: break things at random under load, then reconcile every turn.

Exit status 1 on any violation; the directory with every log, the append-only file and the ledger is named and kept.
"""

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from chaos.client import Client
from chaos.load import Load, reconcile, summary
from chaos.monkey import Monkey
from stack.cluster import Stack
from stack.redis_server import RedisServer
from turnwire.shared.store.connect import connect

LEASE_S = 1.0
ENV = {
    "TURNWIRE_HOOKS": "chaos.product:hooks",
    "TURNWIRE_LEASE_MS": str(int(LEASE_S * 1000)),
    "TURNWIRE_MAX_ATTEMPTS": "8",  # more takeovers than strikes can explain end a turn as failed: a violation
    "TURNWIRE_DRAIN_S": "0.5",
    "TURNWIRE_REDIS_TIMEOUT_S": "2",
}
OPEN_TURNS = 60  # side by side
BAD_SHARE = 0.02  # of the turns block the event loop; as many raise
END_LIMIT_S = 60.0


def shape(chance: random.Random) -> dict[str, Any]:
    """How one turn goes: short or long, quick or slow, with its answer as a step of its own or not.

    A few block their worker's event loop around a lease's time, or raise what must stay inside their own turn.
    """
    how = {"events": chance.randint(1, 40), "pace_ms": chance.choice([0, 5, 20, 60])}
    how |= {"stream": chance.random() < 0.5, "after_ms": chance.choice([0, 100, 500])}
    fate = chance.random()
    if fate < BAD_SHARE:
        return how | {"block_s": LEASE_S * chance.uniform(0.5, 2)}
    if fate < 2 * BAD_SHARE:
        return how | {"raise": chance.choice(["surrogate", "exit"])}
    return how


async def chaos(seconds: float, seed: int, directory: Path) -> list[str]:
    """Run it; prints the table, returns the violations."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    ledger = directory / "ledger"
    with (
        RedisServer(directory / "redis", aof=True) as server,
        Stack(directory, workers=3, apis=2, env=ENV | {"CHAOS_LEDGER": str(ledger)}, redis=server) as stack,
    ):
        redis = connect(server.url, connections=4)
        async with Client(stack.base_urls) as client:
            load = Load(client, chance, shape)
            monkey = Monkey(stack, server, redis, chance, LEASE_S)
            await _break(load, monkey, chance, time.monotonic() + seconds)
            violations = await load.over(END_LIMIT_S)
            ended = [answer for answer in load.answers if answer.ended]
            violations += [text async for text in reconcile(client, redis, ended, ledger)]
        await redis.aclose(close_connection_pool=True)
    violations += monkey.findings
    _print(summary(load.answers, ledger) | {"strikes": dict(monkey.strikes), "violations": len(violations)})
    return violations


async def _break(load: Load, monkey: Monkey, chance: random.Random, until_s: float) -> None:
    strike_at_s = time.monotonic() + 1
    striking: asyncio.Task[None] | None = None
    while time.monotonic() < until_s:
        if load.open < OPEN_TURNS:
            load.start_session(chance.randint(1, 4))
        if time.monotonic() > strike_at_s and (striking is None or striking.done()):
            if striking:
                striking.result()
            striking = asyncio.create_task(monkey.strike())
            strike_at_s = time.monotonic() + chance.uniform(0.5, 3)
        await asyncio.sleep(0.05)
    if striking:
        await striking


def _print(table: dict[str, Any]) -> None:
    for name, value in table.items():
        print(f"{name:<26}{value}")


def main(args: list[str]) -> int:
    """Read the options and run; 1 on a violation."""
    parser = argparse.ArgumentParser(prog="dev.py chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long things are broken (default: 1)")
    parser.add_argument("--seed", type=int, default=None, help="repeats the choices of another run")
    options = parser.parse_args(args)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    directory = Path(tempfile.mkdtemp(prefix="turnwire-chaos-"))
    print(f"chaos: seed {seed}, {options.minutes:g} minutes, {directory}", flush=True)
    violations = asyncio.run(chaos(options.minutes * 60, seed, directory))
    for text in violations[:50]:
        print(f"VIOLATION {text}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
