"""A stream ends when the credentials end with which it began, and continues at its cursor with fresh ones."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack.redis_server import RedisServer
from tests.support.following import Writer, logged
from tests.support.key_file import write_key_file
from tests.support.served_api import BACKEND, BLOCKS, Api, bearer, served
from tests.support.turns import KEY
from tests.support.waiting import wait_until
from turnwire.api.access import watch
from turnwire.api.app import create_app
from turnwire.api.endpoints.stream import last_words
from turnwire.api.following.encode import NDJSON
from turnwire.shared.keys import REVOKED
from turnwire.shared.settings import Settings

PATH = "/v1/sessions/demo/turns/0/events"


@pytest.fixture
async def api(settings: Settings, redis, tmp_path: Path, monkeypatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(watch, "LOOK_S", 0.05)
    async with served(settings, write_key_file(tmp_path / "keys.toml", *BLOCKS)) as api:
        yield api


@pytest.fixture
async def running(store) -> Writer:
    """A turn that has said something, and runs."""
    writer = await (await Writer(store, KEY).submit()).claim()
    await writer.say("a", "b")
    return writer


async def to_the_end(api: Api, headers: dict[str, str], **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in api.follow(headers, **options) if line]


async def test_a_token_is_refreshed_in_mid_stream_and_nothing_is_lost(api: Api, running: Writer, store):
    before = await to_the_end(api, bearer(api.token(1)))
    assert before[-1] == {
        "id": "1-2",
        "type": "session.stream.ended",
        "data": {"code": "token_expired", "after": "1-2", "retryable": True},
    }
    await running.say("c")
    await running.end()
    after = await to_the_end(api, bearer(api.token(60)), after=before[-1]["data"]["after"])
    assert [line["id"] for line in [*before[:-1], *after]] == await logged(store, KEY)


async def test_an_event_source_keeps_its_cursor(api: Api, running: Writer):
    lines = [line async for line in api.follow(bearer(api.token(1)), accept="text/event-stream")]
    begin = lines.index("event: session.stream.ended")
    assert lines[begin - 1] == "id: 1-2"
    assert json.loads(lines[begin + 1].removeprefix("data: "))["data"]["code"] == "token_expired"


def test_a_stream_without_any_event_has_no_cursor_to_repeat():
    assert json.loads(last_words(NDJSON, "token_expired", None)) == {
        "type": "session.stream.ended",
        "data": {"code": "token_expired", "after": None, "retryable": True},
    }


async def test_the_stream_of_a_key_that_is_withdrawn_ends_and_those_of_others_go_on(api: Api, running: Writer):
    ended = []
    async for line in api.follow({"x-api-key": "tw_reader"}):
        ended.append(json.loads(line))
        if ended[-1].get("id") == "1-2":
            write_key_file(api.key_file, BLOCKS[0])
    assert ended[-1]["data"]["code"] == "credentials_withdrawn"
    assert (await api.client.get(PATH, headers={"x-api-key": "tw_reader"})).status_code == 401
    await running.end()
    assert (await to_the_end(api, BACKEND))[-1]["type"] == "session.run.completed"


@pytest.mark.parametrize("by", ["token", "id", "key"])
async def test_the_stream_of_a_token_that_is_revoked_ends(api: Api, running: Writer, by: str):
    made = (await api.client.post("/v1/tokens", json={"session": "demo", "scopes": ["read"]}, headers=BACKEND)).json()
    body = {by: "backend" if by == "key" else made[by]}
    lines = []
    async for line in api.follow(bearer(made["token"])):
        lines.append(json.loads(line))
        if lines[-1].get("id") == "1-2":
            revoked = await api.client.post("/v1/tokens/revoke", json=body, headers=BACKEND)
            assert revoked.status_code == 200, revoked.text
    assert lines[-1]["data"]["code"] == "credentials_withdrawn"
    assert (await api.client.get(PATH, headers=bearer(made["token"]))).status_code == 401
    assert (await api.client.get(PATH.removesuffix("/events"), headers=BACKEND)).status_code == 200, "the key counts"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"id": "a", "key": "backend"},
        {"token": "tw_reader"},
        {"token": "a.b.c"},
        {"id": ""},
        {"id": "a", "keep_s": 0},
    ],
)
async def test_what_cannot_be_revoked_is_refused(api: Api, body: dict[str, Any]):
    answer = await api.client.post("/v1/tokens/revoke", json=body, headers=BACKEND)
    assert answer.status_code == 422, answer.text


async def test_a_process_that_starts_later_knows_what_was_revoked(api: Api, settings, redis):
    token = api.token(60)
    assert (await api.client.post("/v1/tokens/revoke", json={"token": token}, headers=BACKEND)).status_code == 200
    later = create_app(api.services.settings)
    async with later.state.services.running():
        transport = httpx.ASGITransport(later)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get(PATH, headers=bearer(token))).status_code == 401


async def test_a_defect_in_the_list_of_what_is_revoked_does_not_end_the_reading_of_it(
    api: Api, running: Writer, redis, caplog: pytest.LogCaptureFixture
):
    await redis.set(REVOKED, "no list", ex=60)
    await redis.publish(api.services.revocations.channel, "revoked")
    await wait_until(lambda: "revoked tokens failed" in caplog.text, "the failure is logged")
    await redis.delete(REVOKED)
    token = api.token(60)
    assert (await api.client.post("/v1/tokens/revoke", json={"token": token}, headers=BACKEND)).status_code == 200
    await wait_until(lambda: api.services.door.revoked, "the list is read again")


async def test_a_stream_that_is_held_while_the_store_is_away_ends_with_its_credentials_and_counts(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watch, "LOOK_S", 0.05)
    path = write_key_file(tmp_path / "keys.toml", *BLOCKS, "[tenant.default]\nmax_tails = 1")
    with RedisServer(tmp_path) as server:
        async with served(settings, path, redis_url=server.url, redis_timeout_s=0.2) as api:
            server.pause()
            try:
                lines: list[str] = []
                async for line in api.follow(bearer(api.token(2)), after="1-1", accept="text/event-stream"):
                    if not lines:
                        refused = await api.client.get(PATH, headers=BACKEND | {"accept": "text/event-stream"})
                        assert (refused.status_code, refused.json()["code"]) == (429, "tail_limit")
                    lines.append(line)
            finally:
                server.resume()
    begin = lines.index("event: session.stream.ended")
    assert lines[begin - 1] == "id: 1-1"
    assert json.loads(lines[begin + 1].removeprefix("data: "))["data"]["code"] == "token_expired"
