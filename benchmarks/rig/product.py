"""The product under load. A turn's metadata says how many events it yields, how fast and how big.

With BENCH_STARTS in the environment, each turn also writes down when its producer began.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from time import monotonic_ns
from typing import Any

import msgspec

from benchmarks.rig.systems.stamps import stamp_start
from turnwire import ChatTurnHooks, Turn


class Load(msgspec.Struct, frozen=True):
    """The events of a turn: text deltas, and perhaps a signal that the turn waits for after them."""

    events: int = 0
    rate_per_s: float = 0
    bytes: int = 40
    stamp: bool = False  # each event has `at`: when it was made, in ns of the monotonic clock
    block_s: float = 0  # for how long the turn blocks the event loop, after its first event
    signal: str | None = None  # after its events the turn waits for this signal, then yields one more event


async def deltas(metadata: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
    """Yield the events of one turn. The schedule counts from the start, so a late event delays no later one."""
    load = msgspec.convert(metadata, Load)
    clock = asyncio.get_running_loop().time
    started_s, text = clock(), "x" * load.bytes
    for number in range(1, load.events + 1):
        if load.rate_per_s:
            await asyncio.sleep(max(0.0, started_s + number / load.rate_per_s - clock()))
        data: dict[str, Any] = {"part": {"type": "text"}, "delta": text}
        if load.stamp:
            data["at"] = monotonic_ns()
        yield {"type": "message.part.updated", "data": data}
        if number == 1 and load.block_s:
            time.sleep(load.block_s)  # noqa: ASYNC251 - what `blocked` measures


class LoadHooks(ChatTurnHooks):
    """Has only `produce`, because the benchmarks measure the service and not a product."""

    async def produce(self, turn: Turn) -> AsyncGenerator[dict[str, Any]]:
        stamp_start(turn.run_id)
        async for event in deltas(turn.metadata):
            yield event
        if key := turn.metadata.get("signal"):
            yield {"type": "signal", "data": {"payload": await turn.signal(key)}}


hooks = LoadHooks()
