"""A naive service: a stock arq worker that XADDs each event, and an API that runs one XREAD BLOCK per client.

It has no lease, no checkpoint, no takeover and no replay. Its streams have the form of Turnwire's, so the same client
and the same checks work. `python -m benchmarks.rig.naive_arq worker|api` reads BENCH_REDIS_SOCKET, BENCH_REDIS_DB,
BENCH_MAX_JOBS and BENCH_PORT.
"""

import json
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import arq
import uvicorn
import uvloop
from arq.connections import ArqRedis, RedisSettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from benchmarks.rig.product import deltas

REDIS = RedisSettings(
    unix_socket_path=os.environ.get("BENCH_REDIS_SOCKET"), database=int(os.environ.get("BENCH_REDIS_DB", "0"))
)
LAST = b'"session.run.completed"'


async def run_turn(ctx: dict[str, Any], run_id: str, metadata: dict[str, Any]) -> None:
    """Run the job, and add each event to the turn's stream as it comes."""
    redis, seq, text = ctx["redis"], 0, ""

    async def append(kind: str, data: dict[str, Any]) -> None:
        nonlocal seq
        await redis.xadd(f"events:{run_id}", {"e": json.dumps({"type": kind, "data": data})}, id=f"1-{seq}")
        seq += 1

    await append("session.run.started", {"attempt": 1})
    async for event in deltas(metadata):
        text += event["data"]["delta"]
        await append(event["type"], event["data"])
    await append("result", {"finalText": text})
    await append("session.run.completed", {})


async def say_ready(_: dict[str, Any]) -> None:
    """Print that the worker is ready, because the benchmark waits for that."""
    print("worker ready", flush=True)


async def post(request: Request) -> StreamingResponse:
    """Enqueue, then stream."""
    redis: ArqRedis = request.app.state.redis
    run_id = f"chat:{request.path_params['session']}:0"
    body = await request.json()
    await redis.enqueue_job("run_turn", run_id, body["metadata"], _job_id=run_id)
    return StreamingResponse(lines(redis, f"events:{run_id}"), media_type="application/x-ndjson")


async def lines(redis: ArqRedis, stream: str) -> AsyncGenerator[bytes]:
    """Yield the turn's lines. Each client holds a connection to Redis until the turn ends."""
    after = b"0"
    while True:
        for _, entries in await redis.xread({stream: after}, block=5000):
            out = [b'{"id":"%b",%b\n' % (entry_id, fields[b"e"][1:]) for entry_id, fields in entries]
            yield b"".join(out)
            after = entries[-1][0]
            if LAST in out[-1]:
                return


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.redis = await arq.create_pool(REDIS)
    yield
    await app.state.redis.aclose()


def main(role: str) -> None:
    """Start one of the two processes. Both get uvloop, as those of Turnwire do."""
    if role == "worker":
        uvloop.install()
        settings = {"functions": [run_turn], "redis_settings": REDIS, "on_startup": say_ready}
        arq.run_worker({**settings, "max_jobs": int(os.environ["BENCH_MAX_JOBS"])})
    else:
        routes = [
            Route("/v1/sessions/{session}/turns/0", post, methods=["POST"]),
            Route("/readyz", lambda _: PlainTextResponse("ok")),
        ]
        app = Starlette(routes=routes, lifespan=lifespan)
        uvicorn.run(app, port=int(os.environ["BENCH_PORT"]), access_log=False, log_level="warning", backlog=4096)


if __name__ == "__main__":
    main(sys.argv[1])
