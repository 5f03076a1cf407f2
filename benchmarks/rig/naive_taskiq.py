"""A naive service on taskiq's Redis Stream broker: a task that XADDs each event, and one XREAD BLOCK per client.

It is like `naive_arq`, but runs in the interpreter that has taskiq, so it imports nothing of Turnwire. It has no lease,
no checkpoint and no replay. `python -m benchmarks.rig.naive_taskiq worker|api` reads BENCH_REDIS and BENCH_PORT.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from taskiq_redis import RedisStreamBroker

MAX_JOBS = "100"
CLIENTS = 1000  # the most connections: one per client, held until its turn ends
LAST = b'"session.run.completed"'
broker = RedisStreamBroker(url=os.environ["BENCH_REDIS"])
redis = Redis.from_url(os.environ["BENCH_REDIS"], max_connections=CLIENTS)


@broker.task(task_name="turn")
async def turn(run_id: str, events: int, rate_per_s: float) -> None:
    """Run the job, and add each event to the turn's stream as it comes."""
    seq, clock = 0, asyncio.get_running_loop().time

    async def append(kind: str, data: dict[str, Any]) -> None:
        nonlocal seq
        await redis.xadd(f"events:{run_id}", {"e": json.dumps({"type": kind, "data": data})}, id=f"1-{seq}")
        seq += 1

    await append("session.run.started", {"attempt": 1})
    began = clock()
    for number in range(1, events + 1):
        if rate_per_s:
            await asyncio.sleep(max(0.0, began + number / rate_per_s - clock()))
        data = {"part": {"type": "text"}, "delta": "x" * 40, "at": time.monotonic_ns()}
        await append("message.part.updated", data)
    await append("result", {"finalText": "x" * 40 * events})
    await append("session.run.completed", {})


async def post(request: Request) -> StreamingResponse:
    """Enqueue, then stream."""
    run_id = request.path_params["session"]
    load = (await request.json())["metadata"]
    await turn.kiq(run_id, load["events"], load.get("rate_per_s", 0))
    return StreamingResponse(lines(f"events:{run_id}"), media_type="application/x-ndjson")


async def lines(stream: str) -> AsyncGenerator[bytes]:
    """Yield the turn's lines until it ends."""
    after = b"0"
    while True:
        for _, entries in await redis.xread({stream: after}, block=5000):
            out = [b'{"id":"%b",%b\n' % (entry_id, fields[b"e"][1:]) for entry_id, fields in entries]
            yield b"".join(out)
            after = entries[-1][0]
            if LAST in out[-1]:
                return


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


def main(role: str) -> None:
    """Start one of the two processes. Both get uvloop."""
    if role == "worker":
        tasks = ["--max-async-tasks", MAX_JOBS, "--workers", "1", "--log-level", "WARNING"]
        os.execv(sys.executable, [sys.executable, "-m", "taskiq", "worker", f"{__spec__.name}:broker", *tasks])
    import uvicorn

    routes = [
        Route("/v1/sessions/{session}/turns/0", post, methods=["POST"]),
        Route("/readyz", lambda _: PlainTextResponse("ok")),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    uvicorn.run(app, port=int(os.environ["BENCH_PORT"]), access_log=False, log_level="warning", backlog=4096)


if __name__ == "__main__":
    main(sys.argv[1])
