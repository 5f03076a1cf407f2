"""GET /v1/admin/queue, with a real worker that has no hooks for the turn."""

import asyncio
from typing import Any

import httpx

from tests.support.product import Scripted, text
from tests.support.turns import KEY, request
from tests.support.waiting import wait_until
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products


async def unserved(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    response = await http.get("/v1/admin/queue")
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["unserved"]
    return found


async def test_an_operator_sees_for_which_project_a_worker_is_missing(http, settings, store, queue):
    await store.submit(KEY, request(project="tax"))
    await queue.enqueue(KEY.run_id)
    worker = TurnWorker(settings, Products({"legal": Scripted()}))
    main = asyncio.create_task(worker.main())

    async def is_seen() -> bool:
        return bool(await unserved(http))

    await wait_until(is_seen, "the turn among those that wait", 10)
    [tax] = await unserved(http)
    assert (tax["project"], tax["turns"]) == ("tax", 1)
    assert 0 <= tax["oldest_at"] - (await store.existing(KEY)).created_at < 2_000
    worker.drain()
    await main
    await worker.close()
    right = TurnWorker(settings, Products({"tax": Scripted(text("x"))}))
    main = asyncio.create_task(right.main())

    async def is_completed() -> bool:
        return (await store.existing(KEY)).status == "completed"

    await wait_until(is_completed, "a worker that has the hooks", 10)
    right.drain()
    await main
    await right.close()
