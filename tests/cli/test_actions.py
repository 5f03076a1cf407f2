"""What operators do with `turnwire`: requeue and cancel turns, drain a worker, pause and resume."""

import asyncio
import json

import pytest

from tests.cli.asking import Turnwire, worker_of
from tests.support.product import HOLD, Scripted, text
from tests.support.turns import KEY, request
from tests.support.waiting import wait_until


async def test_a_turn_whose_job_is_lost_is_put_back(turnwire: Turnwire, store, queue):
    await store.submit(KEY, request())
    assert (await turnwire.json("queue"))["jobs"] == 0
    assert "chat:demo:0 is in the queue: queued" in (await turnwire("requeue", "demo")).stderr
    assert (await turnwire.json("queue"))["jobs"] == 1
    assert (await turnwire.json("requeue", "chat:demo:0"))["status"] == "queued"
    await turnwire("cancel", "demo")
    assert "turnwire: " in (await turnwire("requeue", "demo", code=1)).stderr


async def test_a_worker_drains(turnwire: Turnwire, settings):
    hooks = Scripted(text("one "), HOLD, text("two"))
    async with worker_of(settings, hooks) as worker:
        await turnwire("send", "demo", "hi", "--detach")
        await hooks.holding.wait()
        assert f"{worker.id} drains" in (await turnwire("drain", worker.id)).stderr

        async def is_draining() -> bool:
            [entry] = await turnwire.json("workers")
            return bool(entry["is_draining"])

        await wait_until(is_draining, "the worker to drain")
        hooks.gate.set()
        await turnwire("tail", "demo", "0")
    await turnwire("drain", "host/1/nobody", code=1)


async def test_usage_of_every_tenant(turnwire: Turnwire, settings):
    async with worker_of(settings, Scripted(text("hello"))):
        await turnwire("send", "demo", "hi")
    assert [sums["tenant_id"] for sums in await turnwire.json("usage", "--all")] == ["default"]
    assert (await turnwire("usage", "--tenant", "default")).stdout.splitlines()[1].startswith("default\t1\t")


@pytest.mark.parametrize(("command", "is_paused"), [("pause", True), ("resume", False)])
@pytest.mark.parametrize("kind", ["project", "tenant"])
async def test_pause_and_resume_ask_for_it_by_kind_and_name(command: str, is_paused: bool, kind: str):
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0])
        body = json.dumps({"kind": kind, "name": "a b", "is_paused": is_paused, "since": 1}).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        turnwire = Turnwire(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        told = (await turnwire(command, kind, "a b")).stderr
        assert (await turnwire.json(command, kind, "a b"))["is_paused"] is is_paused
    assert told == f"{kind} a b {'is paused' if is_paused else 'runs'}\n"
    assert asked == 2 * [f"POST /v1/admin/{kind}s/a%20b/{command} HTTP/1.1".encode()]
