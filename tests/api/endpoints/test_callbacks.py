"""A request may name a callback of an allowed host. Operators see which ones were not made yet."""

from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from tests.support.turns import KEY
from turnwire.api.app import create_app
from turnwire.shared.store.callbacks import Callbacks

URL = "https://hooks.example.com/turns"
ASK = "/v1/sessions/demo/turns/0"


@pytest.fixture
async def http(settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(msgspec.structs.replace(settings, callback_hosts="hooks.example.com"))
    headers = {"Prefer": "respond-async"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client
    await app.state.services.redis.aclose(close_connection_pool=True)


async def test_it_is_kept_with_the_turn_and_is_no_part_of_its_input(http, store):
    accepted = await http.post(ASK, json={"message": "hello", "callback": URL})
    assert (accepted.status_code, accepted.json()["callback"]) == (202, URL)
    assert (await http.post(ASK, json={"message": "hello"})).status_code == 202, "it is the same turn"


@pytest.mark.parametrize("url", ["https://evil.test/", "http://hooks.example.com/", "", "x" * 3000, 7])
async def test_another_url_is_refused_before_anything_is_written(http, redis, url):
    refused = await http.post(ASK, json={"message": "hello", "callback": url})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    assert await redis.keys("*") == []


async def test_the_list_of_those_that_were_not_made_yet(http, store, queue, settings, redis):
    await http.post(ASK, json={"message": "hello", "callback": URL})
    await queue.enqueue_callback(KEY.run_id)
    await Callbacks(redis, settings).begin(KEY, "1:completed")
    await queue.enqueue_persist(KEY.run_id)
    listed = (await http.get("/v1/admin/callbacks")).json()
    assert (listed["count"], listed["next"]) == (1, None)
    (turn,) = listed["turns"]
    assert (turn["run_id"], turn["session_id"], turn["turn_index"], turn["tries"]) == (KEY.run_id, "demo", 0, 1)
    assert (await http.get("/v1/admin/persist")).json()["count"] == 1
