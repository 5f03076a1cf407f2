"""An API and a worker in this process: what the metrics say after turns that were asked, replayed and followed."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from tests.support.product import HOLD, Scripted, text
from tests.support.scraped import Scraped
from tests.support.served import listening
from tests.support.waiting import wait_until
from turnwire.api.app import create_app
from turnwire.api.edge.protocol import Protocol
from turnwire.shared import keys
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products

TURN = "/v1/sessions/demo/turns/0"


@pytest.fixture
async def product(redis, settings) -> AsyncIterator[Scripted]:
    product = Scripted(text("hello"), HOLD, text(" world"))
    worker = TurnWorker(settings, Products({None: product}))
    main = asyncio.create_task(worker.main())
    await wait_until(lambda: redis.hexists(keys.WORKERS, worker.id), "the worker to register")
    yield product
    product.gate.set()
    worker.drain()
    await main
    await worker.close()


async def test_the_first_event_the_tails_and_the_replay(settings, product):
    app = create_app(msgspec.structs.replace(settings, keep_alive_s=1))
    async with (
        listening(app, Protocol, "on") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):

        async def scrape(before: Scraped | None = None) -> Scraped:
            return Scraped((await http.get("/metrics")).text, before)

        before = await scrape()
        async with http.stream("POST", TURN, json={"message": "m"}) as stream:
            lines = stream.aiter_lines()
            while "hello" not in await anext(lines):
                pass
            during = await scrape(before)
            assert during("turnwire_tails") - before("turnwire_tails") == during("turnwire_followed_turns") == 1
            assert during("turnwire_first_event_seconds_count") == 1
            assert 0 < during("turnwire_first_event_seconds_sum") < 10
            async with http.stream("GET", f"{TURN}/events") as second:
                others = second.aiter_lines()
                assert "started" in await anext(others)
                assert (await scrape())("turnwire_tails") == 2
                await others.aclose()  # type: ignore[attr-defined]
            product.gate.set()
            assert "completed" in [line async for line in lines][-1]
        assert (await http.post(TURN, json={"message": "m"})).headers["idempotent-replayed"] == "true"
        after = await scrape(before)
    assert after("turnwire_replay_seconds_count") == 1
    assert after("turnwire_first_event_seconds_count") == 1, "who attaches or replays waits for no first event"
    assert after("turnwire_turns_asked_total", verdict="created") == 1
    assert after("turnwire_turns_asked_total", verdict="replay") == 1
