"""GET /metrics: who may read it, what it says of the process and of the queue, and what it does without Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import isnan
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.support.key_file import key_block, write_key_file
from tests.support.proxy import Proxy
from tests.support.scraped import Scraped
from tests.support.turns import request, submit_and_claim
from turnwire.api import store_gauges
from turnwire.api.app import create_app
from turnwire.shared import keys
from turnwire.shared.events import encode_event
from turnwire.shared.keys import SessionKey
from turnwire.shared.lanes import Lane
from turnwire.shared.settings import Settings
from turnwire.shared.store import suspended

WAITING = "turnwire_queue_waiting_jobs"
OLDEST = "turnwire_queue_oldest_waiting_seconds"


@asynccontextmanager
async def api(settings: Settings, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    values = {name: getattr(settings, name) for name in settings.__struct_fields__} | changes
    app = create_app(Settings(**values))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client
    await app.state.services.store_gauges.close()
    await app.state.services.redis.aclose(close_connection_pool=True)


async def scrape(http: httpx.AsyncClient, before: Scraped | None = None, **headers: str) -> Scraped:
    answer = await http.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["cache-control"] == "no-store"
    return Scraped(answer.text, before)


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    blocks = [
        key_block(scope, f"tw_{scope}", "acme", [scope]) for scope in ("read", "turns", "tokens", "metrics", "admin")
    ]
    return str(write_key_file(tmp_path / "keys.toml", *blocks))


async def test_a_scrape_needs_a_key_with_the_scope_metrics_or_admin(settings, redis, key_file):
    async with api(settings, api_keys_file=key_file) as http:
        assert (await http.get("/metrics")).status_code == 401
        for scope, status in (("read", 403), ("turns", 403), ("tokens", 403), ("metrics", 200), ("admin", 200)):
            assert (await http.get("/metrics", headers={"x-api-key": f"tw_{scope}"})).status_code == status, scope
        assert (await http.get("/v1/admin/queue", headers={"x-api-key": "tw_metrics"})).status_code == 403
        assert (await http.get("/metrics?token=tw_metrics")).status_code == 401


async def test_a_setting_opens_the_metrics_and_nothing_else(settings, redis, key_file):
    async with api(settings, api_keys_file=key_file, metrics_open=True) as http:
        assert (await http.get("/metrics")).status_code == 200
        assert (await http.get("/v1/admin/queue")).status_code == 401


async def test_refusals_are_counted_by_what_refused_them(settings, redis, tmp_path):
    table = "[tenant.acme]\nmax_open_turns = 1\n[tenant.slow]\nrequests_per_s = 0.001"
    blocks = [key_block(name, f"tw_{name}", name, ["turns"]) for name in ("acme", "slow", "full")]
    narrow = key_block("narrow", "tw_narrow", "other", ["turns"]) + "max_open_turns = 1\n"
    path = write_key_file(tmp_path / "keys.toml", *blocks, narrow, table)
    async with api(settings, api_keys_file=str(path), metrics_open=True, max_queued=2) as http:
        before = await scrape(http)

        async def ask(key: str, index: int) -> int:
            body, headers = {"message": "m", "on_busy": "concurrent"}, {"x-api-key": key, "prefer": "respond-async"}
            return (await http.post(f"/v1/sessions/demo/turns/{index}", json=body, headers=headers)).status_code

        assert [await ask("tw_acme", 0), await ask("tw_acme", 1)] == [202, 429]
        assert [await ask("tw_narrow", 0), await ask("tw_narrow", 1)] == [202, 429]
        assert [await ask("tw_slow", 0), await ask("tw_slow", 1)] == [429, 429]  # the queue is full, then the rate
        assert [await ask("tw_wrong", 0)] == [401]
        after = await scrape(http, before)
    refused = "turnwire_refused_requests_total"
    assert after(refused, code="open_turns_limit", holder="tenant") == 1
    assert after(refused, code="open_turns_limit", holder="key") == 1
    assert after(refused, code="queue_full", holder="deployment") == 1
    assert after(refused, code="rate_limited", holder="tenant") == 1
    assert after("turnwire_refused_credentials_total", code="unauthenticated") == 1
    assert after("turnwire_problems_total", code="open_turns_limit") == 2
    assert after("turnwire_requests_total", operation="askTurn") == 7
    assert after("turnwire_turns_asked_total", verdict="created") == 2


async def test_the_queue_by_pool_and_tenant(settings, redis, store, queue):
    async def wait(tenant: str, session: str, lane: Lane) -> None:
        key = SessionKey(tenant, session).turn(0)
        await store.submit(key, request(lane=lane))
        await queue.enqueue(key.run_id, lane=lane)

    for tenant, count in (("big", 3), ("small", 2), ("tiny", 1)):
        for number in range(count):
            await wait(tenant, f"s{number}", Lane("gpu"))
    await wait("big", "batch", Lane("gpu", "batch"))
    await wait("big", "elsewhere", Lane("unknown"))
    async with api(settings, project_pools="legal=gpu", metrics_tenants=1, max_queued=70) as http:
        scraped = await scrape(http)
    assert scraped(WAITING, pool="gpu", tenant="big") == 4
    assert scraped(WAITING, pool="gpu", tenant="other") == 3
    assert scraped(WAITING, pool="other", tenant="other") == 1, "no setting of this API names the pool"
    assert scraped(WAITING, pool="default", tenant="other") == 0
    assert (scraped("turnwire_queue_jobs"), scraped("turnwire_queue_limit_jobs")) == (8, 70)
    assert scraped("turnwire_queue_open_turns") == 8
    assert scraped("turnwire_queue_parked_turns") == 0
    assert 0 <= scraped(OLDEST, pool="gpu", tenant="big") < 60


async def test_suspended_turns_by_pool_and_tenant(settings, redis, store, monkeypatch):
    async def suspends(tenant: str, session: str, pool: str) -> None:
        claimed = await submit_and_claim(store, SessionKey(tenant, session).turn(0), lane=Lane(pool))
        await store.suspend(claimed, "go", None, 1, encode_event("session.run.suspended", {}))

    for tenant, count in (("big", 3), ("small", 2), ("tiny", 1)):
        for number in range(count):
            await suspends(tenant, f"s{number}", "gpu")
    await suspends("big", "elsewhere", "unknown")
    name = "turnwire_queue_suspended_turns"
    async with api(settings, project_pools="legal=gpu", metrics_tenants=1) as http:
        scraped = await scrape(http)
        assert scraped(name, pool="gpu", tenant="big") == 3
        assert scraped(name, pool="gpu", tenant="other") == 3
        assert scraped(name, pool="other", tenant="big") == 1, "no setting of this API names the pool"
        assert scraped(name, pool="default", tenant="other") == 0
        monkeypatch.setattr(suspended, "MOST_LINES", 1)
    async with api(settings, project_pools="legal=gpu") as http:
        scraped = await scrape(http)
        assert scraped(name, pool="gpu", tenant="big") == 3
        assert scraped(name, pool="other", tenant="other") == 4, "of more tenants than were looked at"


async def test_the_age_of_the_oldest_job_also_of_one_in_an_unknown_pool(settings, redis, store, queue):
    key = SessionKey("acme", "demo").turn(0)
    await store.submit(key, request())
    await queue.enqueue(key.run_id)
    await redis.zincrby(keys.line("default", "acme")[2], -90_000_000, key.run_id)  # µs
    async with api(settings) as http:
        scraped = await scrape(http)
        assert 90 <= scraped(OLDEST, pool="default", tenant="acme") < 150
        assert isnan(scraped(OLDEST, pool="other", tenant="other"))
        await redis.zincrby(keys.QUEUE, -200_000, key.run_id)  # ms
    async with api(settings) as http:
        assert 200 <= (await scrape(http))(OLDEST, pool="other", tenant="other") < 260


async def test_answers_and_callbacks_that_wait_are_not_counted_as_open_turns(settings, redis, store, queue):
    for number, enqueue in enumerate((queue.enqueue_persist, queue.enqueue_callback)):
        key = SessionKey("default", f"s{number}").turn(0)
        await store.submit(key, request())
        await enqueue(key.run_id)
    await redis.zincrby(keys.PENDING, -700_000_000, keys.persist_id("chat:s0:0"))
    await redis.zincrby(keys.CALLBACKS, -800_000_000, f"{keys.CALLBACK_PREFIX}chat:s1:0")
    async with api(settings) as http:
        scraped = await scrape(http)
    assert scraped("turnwire_queue_persist_pending") == scraped("turnwire_queue_callbacks_pending") == 1
    assert 700 <= scraped("turnwire_queue_persist_oldest_seconds") < 760
    assert 800 <= scraped("turnwire_queue_callbacks_oldest_seconds") < 860
    assert (scraped("turnwire_queue_open_turns"), scraped("turnwire_queue_jobs")) == (0, 2)


async def test_turns_that_wait_for_an_idle_worker_or_for_one_with_their_hooks(settings, redis, store, queue):
    for name in ("suspect", "unserved"):
        key = SessionKey("default", name).turn(0)
        await store.submit(key, request(project="tax"))
        await queue.enqueue(key.run_id)
    taken = {job.job_id: job for job in (await queue.take("w", 2))[0]}
    await queue.set_aside("w", taken["chat:suspect:0"], 1)
    await queue.note_unserved("chat:unserved:0", "tax", 5000)
    async with api(settings) as http:
        scraped = await scrape(http)
    assert scraped("turnwire_queue_suspect_turns") == scraped("turnwire_queue_unserved_turns") == 1


async def test_workers_and_their_slots(settings, redis, queue):
    for worker, entry in (("a", {"running": 2, "capacity": 10}), ("b", {"running": 1, "capacity": 5}), ("c", "odd")):
        await queue.extend(worker, msgspec.json.encode(entry), [])
    async with api(settings) as http:
        scraped = await scrape(http)
    assert scraped("turnwire_queue_workers") == 3
    assert (scraped("turnwire_queue_running_jobs"), scraped("turnwire_queue_slots")) == (3, 15)


async def test_scrapes_at_the_same_time_share_one_read(settings, redis):
    async with api(settings) as http:
        await redis.config_resetstat()
        scraped = await asyncio.gather(*(scrape(http) for _ in range(8)))
        assert all(one("turnwire_store_up", server="queue") == 1 for one in scraped)
        await scrape(http)
        stats = await redis.info("commandstats")
    assert stats["cmdstat_hlen"]["calls"] == 1


async def test_a_redis_that_does_not_answer_is_left_out_and_holds_up_no_scrape(settings, redis, redis_url, monkeypatch):
    monkeypatch.setattr(store_gauges, "WITHIN_S", 0.1)
    async with Proxy(redis_url) as proxy:
        proxy.set("deaf")
        async with api(settings, redis_url=proxy.url) as http:
            async with asyncio.timeout(5):
                scraped = await scrape(http)
    assert scraped("turnwire_store_up", server="data") == scraped("turnwire_store_up", server="queue") == 0
    assert scraped.labels(WAITING) == []
    assert isnan(scraped("turnwire_queue_jobs"))
    assert scraped("turnwire_tails") == 0


async def test_metrics_are_shown_while_the_process_stops(settings, redis):
    app = create_app(settings)
    app.state.services.drain()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        assert (await scrape(http))("turnwire_draining") == 1
    await app.state.services.redis.aclose(close_connection_pool=True)
