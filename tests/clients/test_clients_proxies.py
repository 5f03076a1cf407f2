"""The proxies of deploy/: streams, leaves, silence, addresses, refusals."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Final

import httpx
import pytest

from tests.clients.proxies import SITE, Proxied, trusting
from tests.support.waiting import LIMIT_S, let_pass, wait_until

pytestmark = pytest.mark.clients
LINES: Final = 200
ADDED_S: Final = 0.05  # HAProxy without its options adds 0.1 s to each line; the benchmark has the tight figure
CUT_S: Final = 75.0  # longer than the 50 or 60 s after which proxies with default settings end a silent connection


@asynccontextmanager
async def stream(
    proxied: Proxied, path: str, body: object, timeout: float = LIMIT_S
) -> AsyncIterator[AsyncIterator[str]]:
    async with proxied.http() as http:
        http.timeout = httpx.Timeout(timeout)
        response = await http.send(proxied.ask(http, "POST", path, body), stream=True)
        try:
            assert response.status_code == 200
            yield response.aiter_lines()
        finally:
            await response.aclose()


async def test_lines_pass_while_the_turn_runs_and_a_leave_cancels(proxied: Proxied):
    scene, gate = proxied.scene, proxied.scene.gate()
    answer = scene.turn(events=3, gate={"1": str(gate)})
    body = {"message": "hi", "metadata": answer.metadata, "on_disconnect": "cancel"}
    async with stream(proxied, answer.path, body) as lines:
        seen = [json.loads(await anext(lines)) for _ in range(2)]
        assert await scene.status(answer) == "running"
        gate.touch()
        seen += [json.loads(line) async for line in lines]
    assert seen[-1]["type"] == "session.run.completed"

    left = scene.turn(events=3, gate={"1": str(scene.gate())})
    async with stream(proxied, left.path, body | {"metadata": left.metadata}) as lines:
        await anext(lines)

    async def cancelled() -> bool:
        return await scene.status(left) == "cancelled"

    await wait_until(cancelled, "the leave was passed on")


async def test_a_proxy_delays_no_line(proxied: Proxied):
    """The same turn is read through the proxy and from the API. The difference is the time that the proxy adds."""
    scene = proxied.scene
    answer = scene.turn(events=LINES, pace_ms=5, gate={"0": str(gate := scene.gate())})
    await scene.submit(answer)
    loop = asyncio.get_running_loop()
    arrived: list[dict[str, float]] = [{}, {}]

    async def read(http: httpx.AsyncClient, request: httpx.Request, times: dict[str, float]) -> None:
        response = await http.send(request, stream=True)
        async for line in response.aiter_lines():
            times[json.loads(line)["id"]] = loop.time()

    path = f"{answer.path}/events"
    async with proxied.http() as http, asyncio.TaskGroup() as group:
        group.create_task(read(http, proxied.ask(http, "GET", path), arrived[0]))
        group.create_task(read(http, http.build_request("GET", scene.stack.base_urls[0] + path), arrived[1]))
        await wait_until(lambda: all(arrived), "both follow the turn")
        gate.touch()
    through_proxy, direct = arrived
    assert through_proxy.keys() == direct.keys()
    added = [at - direct[line] for line, at in through_proxy.items()]
    p99 = sorted(added)[len(added) * 99 // 100]
    print(f"{proxied.name} adds to a line: median {median(added) * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms")
    assert median(added) < ADDED_S


@pytest.mark.parametrize(
    "silence_s", [0.5, pytest.param(CUT_S, marks=[pytest.mark.long, pytest.mark.timeout(CUT_S + 60)])]
)
async def test_a_stream_outlives_a_silence(proxied: Proxied, silence_s: float):
    scene, gate = proxied.scene, proxied.scene.gate()
    answer = scene.turn(events=3, gate={"1": str(gate)})
    body = {"message": "hi", "metadata": answer.metadata, "on_disconnect": "cancel"}
    async with stream(proxied, answer.path, body, timeout=silence_s + LIMIT_S) as lines:
        seen = [json.loads(await anext(lines)) for _ in range(2)]
        await let_pass(silence_s)
        gate.touch()
        seen += [json.loads(line) async for line in lines if line]
    assert seen[-1]["type"] == "session.run.completed"
    assert [line["id"] for line in seen] == [f"1-{seq}" for seq in range(len(seen))]


async def test_signs_of_life_pass_while_nothing_is_said(proxied: Proxied):
    scene, gate = proxied.scene, proxied.scene.gate()
    answer = scene.turn(events=2, gate={"0": str(gate)})
    await scene.submit(answer)
    async with proxied.http() as http:
        request = proxied.ask(http, "GET", f"{answer.path}/events?keepalive=1")
        response = await http.send(request, stream=True)
        lines = response.aiter_lines()
        while await anext(lines):  # until a line without text comes, although the turn says nothing
            pass
        assert await scene.status(answer) == "running"
        gate.touch()
        assert json.loads([line async for line in lines if line][-1])["type"] == "session.run.completed"


async def test_operators_come_another_way(proxied: Proxied):
    async with proxied.http() as http:
        assert (await http.send(proxied.ask(http, "GET", "/v1/admin/persist"))).status_code == 404


async def test_a_client_that_offers_h2c_is_served(proxied: Proxied):
    answer = proxied.scene.turn()
    body = json.dumps({"message": "hi", "metadata": answer.metadata}).encode()
    head = f"POST {answer.path} HTTP/1.1\r\nHost: {SITE}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    head += f"HTTP2-Settings: AAMAAABkAAQAAP__\r\nPrefer: respond-async\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", proxied.port, ssl=trusting(), server_hostname=SITE)
    writer.write(head.encode() + body)
    async with asyncio.timeout(LIMIT_S):
        status = (await reader.readline()).split()[1]
    writer.close()
    assert status in {b"200", b"202"}  # the turn may have ended by then
