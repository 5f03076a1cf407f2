"""Operators pause and resume tenants and projects, with a real worker behind the API."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.operators import asked
from tests.support.product import HOLD, Product, text
from tests.support.waiting import wait_until
from turnwire.shared.keys import SessionKey
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products

RUNNING, PAUSED, FREE = (SessionKey("acme", name).turn(0) for name in ("running", "paused", "free"))


@pytest.fixture
async def product(settings) -> AsyncIterator[Product]:
    """A worker whose turns end when the gate is open."""
    product = Product(HOLD, text("hello"))
    worker = TurnWorker(settings, Products({None: product}))
    main = asyncio.create_task(worker.main())
    yield product
    product.gate.set()
    worker.drain()
    await main
    await worker.close()


async def post(http: httpx.AsyncClient, path: str) -> dict[str, object]:
    answer = await http.post(f"/v1/admin/{path}", json={})
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


@pytest.mark.parametrize(
    ("path", "kind", "name"), [("projects/a%2Fb", "project", "a/b"), ("tenants/acme", "tenant", "acme")]
)
async def test_turns_of_what_is_paused_start_when_it_is_resumed(http, store, queue, product, path, kind, name):
    async def status(key) -> str:
        return str((await store.existing(key)).status)

    async def has_ended(key) -> bool:
        return (await store.existing(key)).terminal

    async def reason() -> str | None:
        found = (await http.get("/v1/admin/turns?session=paused&tenant=acme")).json()["turns"][0]["waits_for"]
        return found and f"{found['reason']} {found['detail']}"

    await asked(store, queue, RUNNING, project="a/b")
    await wait_until(product.holding.wait, "the first turn runs")
    paused = await post(http, f"{path}/pause")
    assert paused == {"kind": kind, "name": name, "is_paused": True, "since": paused["since"]}
    assert (await http.get("/v1/admin/queue")).json()["paused"] == [
        {"kind": kind, "name": name, "since": paused["since"]}
    ]
    await asked(store, queue, PAUSED, project="a/b")
    await asked(store, queue, FREE if kind == "project" else SessionKey("globex", "s").turn(0), project="other")
    free = FREE if kind == "project" else SessionKey("globex", "s").turn(0)
    product.gate.set()
    await wait_until(lambda: has_ended(RUNNING), "what runs goes on")
    await wait_until(lambda: has_ended(free), "others start")
    assert (await status(PAUSED), await reason()) == ("queued", f"paused {kind} {name}")
    assert (await store.existing(PAUSED)).attempt == 0
    assert await post(http, f"{path}/resume") == {"kind": kind, "name": name, "is_paused": False, "since": None}
    await wait_until(lambda: has_ended(PAUSED), "the turn starts when it is resumed")
    assert await status(PAUSED) == "completed"
    assert [each["entry"]["action"] for each in (await http.get("/v1/admin/audit")).json()["entries"]] == [
        "pause", "resume",
    ]  # fmt: skip


async def test_a_name_that_no_tenant_can_have_is_refused(http):
    answer = await http.post("/v1/admin/tenants/a~b/pause", json={})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert (await http.post(f"/v1/admin/projects/{'p' * 257}/pause", json={})).status_code == 400
