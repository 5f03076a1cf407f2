"""The feed of a session over HTTP: its credentials, its limits, a client that does not read, a store that is away."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from stack.redis_server import RedisServer
from tests.support.key_file import write_key_file
from tests.support.served_api import BACKEND, BLOCKS, Api, bearer, served
from tests.support.turns import KEY, SESSION, request, submit_and_claim
from tests.support.waiting import wait_until
from turnwire.api.access import watch
from turnwire.shared.settings import Settings

PATH = "/v1/sessions/demo/events"
NARROW = "[tenant.default]\nmax_tails = 2"


@pytest.fixture
async def api(settings: Settings, redis: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(watch, "LOOK_S", 0.05)
    async with served(settings, write_key_file(tmp_path / "keys.toml", *BLOCKS, NARROW)) as api:
        yield api


async def read(api: Api, headers: dict[str, str], **params: str) -> AsyncIterator[dict[str, Any]]:
    async with api.client.stream("GET", PATH, headers=headers, params=params) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            yield json.loads(line)


async def test_it_ends_when_its_token_expires_and_goes_on_at_its_cursor(api: Api, store: Any):
    await submit_and_claim(store)
    lines = [line async for line in read(api, bearer(api.token(1)))]
    assert [line["type"] for line in lines] == ["session.turn.running", "session.stream.ended"]
    assert lines[1]["id"] == lines[1]["data"]["after"] == lines[0]["id"]
    assert lines[1]["data"]["code"] == "token_expired"
    await store.submit(SESSION.turn(1), request())
    async for line in read(api, bearer(api.token(60)), after=lines[1]["id"]):
        assert (line["data"]["turnIndex"], line["data"]["status"]) == (1, "queued")
        break


async def test_it_ends_when_its_token_is_revoked(api: Api, store: Any):
    await submit_and_claim(store)
    token = api.token(60)
    types = []
    async for line in read(api, bearer(token)):
        types.append(line["type"])
        if len(types) == 1:
            revoked = await api.client.post("/v1/tokens/revoke", json={"token": token}, headers=BACKEND)
            assert revoked.status_code == 200, revoked.text
        else:
            assert line["data"]["code"] == "credentials_withdrawn"
    assert types == ["session.turn.running", "session.stream.ended"]


async def test_a_token_may_be_in_its_address_as_that_of_a_turn_s_stream(api: Api, store: Any):
    await submit_and_claim(store)
    async for line in read(api, {}, token=api.token(60)):
        assert line["type"] == "session.turn.running"
        break


async def test_it_counts_as_a_tail(api: Api, store: Any):
    await submit_and_claim(store)
    async with AsyncExitStack() as opened:
        for path in (PATH, "/v1/sessions/demo/turns/0/events"):
            answer = await opened.enter_async_context(api.client.stream("GET", path, headers=BACKEND))
            assert answer.status_code == 200
        await wait_until(lambda: api.services._gauges()["turnwire_tails"] == 2, "both are counted, and nothing else")
        refused = await api.client.get(PATH, headers=BACKEND)
        assert (refused.status_code, refused.json()["code"]) == (429, "tail_limit")
    await wait_until(lambda: api.services._gauges()["turnwire_tails"] == 0, "they have left")


async def test_a_session_that_is_not_there_is_not_found(api: Api):
    for headers in (BACKEND, BACKEND | {"accept": "text/event-stream"}):
        answer = await api.client.get(PATH, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_client_that_never_reads_holds_up_nobody(api: Api, store: Any):
    await submit_and_claim(store)
    loop = asyncio.get_running_loop()
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.setblocking(False)
        await loop.sock_connect(lazy, ("127.0.0.1", api.client.base_url.port))
        await loop.sock_sendall(lazy, f"GET {PATH}?token={api.token(60)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        seen = 0
        async for line in read(api, BACKEND):
            seen += 1
            if seen == 1:
                for index in range(1, 40):
                    await store.submit(SESSION.turn(index), request())
            if line["data"]["turnIndex"] == 39:
                break
        assert seen == 40


async def test_it_ends_when_the_process_drains(api: Api, store: Any):
    await submit_and_claim(store)
    types = []
    async for line in read(api, BACKEND):
        types.append(line["type"])
        api.services.drain()
    assert types == ["session.turn.running"]


async def test_an_event_source_is_kept_while_the_store_is_away(settings: Settings, tmp_path: Path):
    with RedisServer(tmp_path) as server:
        path = write_key_file(tmp_path / "keys.toml", *BLOCKS)
        async with served(settings, path, redis_url=server.url, redis_timeout_s=0.2) as api:
            await api.services.store.submit(KEY, request())
            server.pause()
            refused = await api.client.get(PATH, headers=BACKEND)
            assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
            async with api.client.stream("GET", PATH, headers=BACKEND | {"accept": "text/event-stream"}) as answer:
                assert answer.status_code == 200
                server.resume()
                async for text in answer.aiter_lines():
                    if text.startswith("event:"):
                        assert text == "event: session.turn.queued"
                        break
