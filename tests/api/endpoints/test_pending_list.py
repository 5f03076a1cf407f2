"""GET /v1/admin/persist, with a real worker behind it."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from tests.support.product import Product, text
from tests.support.turns import KEY, SESSION, request
from tests.support.waiting import wait_until
from turnwire.shared.keys import SessionKey
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products

PATH = "/v1/admin/persist"


@pytest.fixture
async def broken(settings, monkeypatch) -> AsyncIterator[Product]:
    """A product that can store nothing, and a worker that runs it and tries again soon."""
    monkeypatch.setattr("turnwire.worker.pool.outbox.FIRST_PAUSE_MS", 10)
    product = Product(text("hello"), persist_assistant_message=10_000)
    worker = TurnWorker(msgspec.structs.replace(settings, persist_tries=1), Products({None: product}))
    running = asyncio.create_task(worker.main())
    yield product
    worker.drain()
    await running
    await worker.close()


async def test_an_answer_is_listed_while_the_product_cannot_store_it(http, store, queue, broken):
    await store.submit(KEY, request())
    await queue.enqueue(KEY.run_id)

    async def listed(tries: int):
        page = (await http.get(PATH)).json()
        return page if page["count"] and page["turns"][0]["tries"] >= tries else None

    first = await wait_until(lambda: listed(1), "a try that failed")
    later = await wait_until(lambda: listed(first["turns"][0]["tries"] + 1), "another one")
    [turn] = later["turns"]
    assert (later["count"], later["next"]) == (1, None)
    assert (turn["run_id"], turn["session_id"], turn["turn_index"], turn["tenant_id"]) == (
        KEY.run_id, SESSION.session, 0, "default",
    )  # fmt: skip
    record = await store.record(KEY)
    assert record.started_at <= turn["since"] <= record.completed_at  # it was put off before the turn was settled
    assert turn["since"] == first["turns"][0]["since"]
    assert turn["next_try_at"] > turn["since"]

    broken.fail.clear()
    await wait_until(lambda: _is_empty(http), "the answer is stored")
    assert list(broken.persisted.values()) == ["HELLO"]


async def _is_empty(http: httpx.AsyncClient) -> bool:
    return (await http.get(PATH)).json() == {"count": 0, "turns": [], "next": None}


async def test_pages_have_no_gap_even_when_entries_go_in_between(http, queue):
    turns = [SessionKey("acme", f"s{number}").turn(number) for number in range(5)]
    for turn in turns:
        await queue.enqueue_persist(turn.run_id)
    first = (await http.get(PATH, params={"limit": 2})).json()
    assert [turn["run_id"] for turn in first["turns"]] == [turn.run_id for turn in turns[:2]]
    assert first["turns"][1]["tenant_id"] == "acme"
    for _ in range(2):  # the first two are stored
        [taken], _ = await queue.take("w", 1)
        await queue.end("w", taken)
    rest = (await http.get(PATH, params={"limit": 100, "after": first["next"]})).json()
    assert [turn["run_id"] for turn in rest["turns"]] == [turn.run_id for turn in turns[2:]]
    assert (rest["count"], rest["next"]) == (3, None)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "after=-1", "after=x", "after=1&after=2"])
async def test_a_query_that_makes_no_sense_is_refused(http, query):
    answer = await http.get(f"{PATH}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


async def test_it_is_only_read(http):
    assert (await http.post(PATH)).status_code == 405
