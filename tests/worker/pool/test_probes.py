"""The port of a worker: its metrics, and probes that tell the truth."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import msgspec
import pytest

from tests.support.product import HOLD, Scripted, text
from tests.support.scraped import Scraped, counted
from tests.support.turns import KEY, request
from tests.support.waiting import LIMIT_S, wait_until
from turnwire.shared.exposition import Exposition
from turnwire.shared.metric_names import METRICS
from turnwire.shared.settings import Settings
from turnwire.worker.pool.probes import HEAD_BYTES, MOST_CONNECTIONS, Probes, WorkerState
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products, StartupError

FINE = WorkerState(0.5, 0.0, False, 3, 100)
SETTINGS = Settings(metrics_port=0, lease_ms=1000, blocked_s=10)


@pytest.fixture
async def served() -> AsyncIterator[Callable[..., Any]]:
    """Serves the probes of a worker in this state. Returns a client of them."""
    tasks: list[asyncio.Task[None]] = []
    made: list[Probes] = []

    async def serve(state: WorkerState = FINE) -> httpx.AsyncClient:
        probes = Probes(SETTINGS, lambda: state, Exposition("worker", dict))
        port = probes.bind()
        made.append(probes)
        tasks.append(asyncio.create_task(probes.run()))
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False)

    yield serve
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for probes in made:
        probes.close()


@pytest.mark.parametrize(
    ("changes", "status", "live", "ready"),
    [
        ({}, "ok", 200, 200),
        ({"is_draining": True}, "draining", 200, 503),
        ({"heartbeat_age_s": 2.0}, "no_redis", 200, 503),
        ({"heartbeat_age_s": None}, "no_redis", 200, 503),
        ({"loop_blocked_s": 9.9}, "ok", 200, 200),
        ({"loop_blocked_s": 10.0, "heartbeat_age_s": 2.0, "is_draining": True}, "blocked", 503, 503),
    ],
)
async def test_what_the_probes_say(served, changes, status, live, ready):
    state = msgspec.structs.replace(FINE, **changes)
    async with await served(state) as http:
        for path, expected in (("/healthz", live), ("/readyz", ready)):
            answer = await http.get(path)
            assert answer.status_code == expected
            assert answer.json() == {
                "status": status,
                "heartbeat_age_s": state.heartbeat_age_s,
                "loop_blocked_s": state.loop_blocked_s,
                "running_jobs": 3,
                "slots": 100,
            }


async def test_other_requests(served):
    async with await served() as http:
        assert (await http.get("/")).status_code == 404
        assert (await http.post("/metrics")).status_code == 405
        assert (await http.get("/metrics", headers={"host": "elsewhere.example"})).status_code == 421
        assert (await http.get("/metrics", headers={"host": "localhost:9100"})).status_code == 200
        head = await http.head("/metrics")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 1000
        metrics = await http.get("/metrics?x=1", headers={"accept": "application/openmetrics-text; version=1.0.0"})
        assert metrics.headers["content-type"].startswith("application/openmetrics-text")
        large = await http.get("/metrics", headers={"x": "y" * 100}, params={"z": "z" * 100})
        assert large.status_code == 200


async def test_clients_that_send_nothing_or_too_much_hold_up_nobody(served):
    async with await served() as http:
        port = http.base_url.port
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST_CONNECTIONS)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"", "one more is closed at once"
        writer.close()
        silent[0][1].write(b"GET / HTTP/1.1\r\nx: " + b"y" * 2 * HEAD_BYTES)
        assert await silent[0][0].read() == b""
        assert (await http.get("/healthz")).status_code == 200
        for _, writer in silent:
            writer.close()


async def test_a_port_that_is_in_use_keeps_the_worker_from_starting(settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = TurnWorker(msgspec.structs.replace(settings, metrics_port=port), Products({None: Scripted()}))
        with pytest.raises(StartupError, match=f"TURNWIRE_METRICS_PORT: cannot listen on 127.0.0.1:{port}"):
            await worker.main()
        await worker.close()


@pytest.fixture
async def worker_and_url(redis, settings, caplog) -> AsyncIterator[tuple[TurnWorker, Scripted, str]]:
    """A worker that runs in this process, its product, and the URL of its metrics."""
    caplog.set_level("INFO")
    product = Scripted(text("hello"), HOLD)
    changed = msgspec.structs.replace(settings, metrics_port=0, blocked_s=0.5)
    worker = TurnWorker(changed, Products({None: product}))
    main = asyncio.create_task(worker.main())
    await wait_until(lambda: worker.id in caplog.text, "the worker to be ready")
    url = re.search(r"metrics and probes on (\S+)", caplog.text)
    assert url is not None
    yield worker, product, url[1]
    product.gate.set()
    worker.drain()
    await main
    await worker.close()


async def test_a_worker_shows_what_it_runs_and_that_it_stops(worker_and_url, store, queue):
    worker, product, url = worker_and_url
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:

        async def says(status: str) -> bool:
            return (await http.get("/readyz")).json()["status"] == status

        await wait_until(lambda: says("ok"), "the first heartbeat")
        before = Scraped((await http.get("/metrics")).text)
        await store.submit(KEY, request())
        await queue.enqueue(KEY.run_id)
        await product.holding.wait()
        during = Scraped((await http.get("/metrics")).text)
        assert (during("turnwire_running_turns"), during("turnwire_running_jobs")) == (1, 1)
        assert during("turnwire_slots") == worker.max_jobs
        assert 0 <= during("turnwire_heartbeat_age_seconds") < 3
        gauges = {metric.name for metric in METRICS if metric.kind == "gauge" and "worker" in metric.processes}
        assert gauges - {"turnwire_build_info"} == {
            name for name in during.types if during.types[name] == "gauge" and name.startswith("turnwire_")
        } - {"turnwire_build_info"}
        worker.drain()
        assert await says("draining")
        after = Scraped((await http.get("/metrics")).text, before)
        assert after("turnwire_draining") == 1
        assert after("turnwire_attempts_total", reason="first") == 1
        await wait_until(
            lambda: counted("worker", before)("turnwire_event_loop_lag_seconds_count"), "a look at the loop"
        )
        product.gate.set()
        await wait_until(lambda: not worker.tasks, "the turn to end")
    assert counted("worker", before)("turnwire_attempt_ends_total", outcome="completed") == 1
    await wait_until(partial(refuses, int(url.rpartition(":")[2])), "the port to be closed")


async def refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_the_probes_answer_while_product_code_blocks_the_loop(worker_and_url):
    _, _, url = worker_and_url
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(until_blocked, url).result()  # it blocks the event loop of the worker for so long
    assert found["loop_blocked_s"] >= 0.5


def until_blocked(url: str) -> dict[str, Any]:
    """Ask until the probe says that the loop is blocked."""
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s:
        answer = httpx.get(f"{url}/healthz", trust_env=False)
        if answer.status_code == 503:
            found: dict[str, Any] = answer.json()
            assert found["status"] == "blocked"
            blocked = Scraped(httpx.get(f"{url}/metrics", trust_env=False).text)
            assert blocked("turnwire_loop_blocked_seconds") >= 0.5
            return found
    raise AssertionError("the probe never said so")
