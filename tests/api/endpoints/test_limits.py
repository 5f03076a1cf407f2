"""A tenant that does more than it may gets a typed answer, which says when to try again; others notice nothing."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.key_file import key_block, write_key_file
from tests.support.turns import request
from turnwire.api.access.identity import Identity
from turnwire.api.app import create_app
from turnwire.shared import keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.settings import Settings

ACME = SessionKey("acme", "demo")
ApiMaker = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def api(settings: Settings, redis, tmp_path: Path) -> ApiMaker:
    """Makes an API with a table for the tenant acme, whose second key has limits of its own."""

    @asynccontextmanager
    async def made(table: str, key: str = "") -> AsyncIterator[httpx.AsyncClient]:
        blocks = [key_block(name, f"tw_{name}", name, ["turns"]) for name in ("acme", "other")]
        second = key_block("second", "tw_second", "acme", ["turns"])
        path = write_key_file(tmp_path / "keys.toml", *blocks, f"{second}{key}", f"[tenant.acme]\n{table}")
        values = {name: getattr(settings, name) for name in settings.__struct_fields__} | {"api_keys_file": str(path)}
        app = create_app(Settings(**values))
        headers = {"Prefer": "respond-async", "x-api-key": "tw_acme"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            try:
                yield client
            finally:
                await app.state.services.redis.aclose(close_connection_pool=True)

    return made


async def ask(client: httpx.AsyncClient, index: int, session: str = "demo", **headers: str) -> httpx.Response:
    body = {"message": "hello", "on_busy": "concurrent"}
    return await client.post(f"/v1/sessions/{session}/turns/{index}", json=body, headers=headers)


def code(response: httpx.Response) -> str:
    assert response.status_code == 429, response.text
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["retryable"] is True
    return str(response.json()["code"])


async def test_open_turns(api):
    async with api("max_open_turns = 1") as client:
        assert (await ask(client, 0)).status_code == 202
        assert code(await ask(client, 1)) == "open_turns_limit"
        assert (await ask(client, 0)).status_code == 202, "it is the same turn"
        assert (await ask(client, 1, **{"x-api-key": "tw_other"})).status_code == 202


async def test_a_refused_turn_leaves_nothing(api, redis):
    async with api("max_open_turns = 1") as client:
        await ask(client, 0)
        await ask(client, 1)
        assert not await redis.exists(ACME.turn(1).record)


async def test_sessions_and_an_erased_one_makes_room(api):
    async with api("max_sessions = 1") as client:
        assert (await ask(client, 0)).status_code == 202
        assert code(await ask(client, 0, "second")) == "session_limit"
        assert (await client.delete("/v1/sessions/demo")).status_code == 200
        assert (await ask(client, 0, "second")).status_code == 202


async def test_requests_and_the_fields_that_tell_of_them(api):
    async with api("requests_per_s = 0.001") as client:
        first = await ask(client, 0)
        assert first.headers["ratelimit-policy"] == '"requests";q=1;w=1000'
        assert first.headers["ratelimit"].startswith('"requests";r=0;t=')
        refused = await client.get("/v1/sessions/demo/turns/0")
        assert code(refused) == "rate_limited"
        assert refused.headers["ratelimit"].startswith('"requests";r=0;t=')
        assert code(await ask(client, 1)) == "rate_limited"
        other = await ask(client, 0, **{"x-api-key": "tw_other"})
        assert other.status_code == 202
        assert "ratelimit" not in other.headers


async def test_turns_are_counted_over_all_processes(api):
    async with api("requests_per_s = 0.001") as one, api("requests_per_s = 0.001") as another:
        assert (await ask(one, 0)).status_code == 202
        refused = await ask(another, 1)
        assert code(refused) == "rate_limited"
        assert refused.headers["ratelimit-policy"] == '"requests";q=1;w=1000'


async def test_tails(api, store):
    await store.submit(ACME.turn(0), request())
    async with api("max_tails = 1") as client:
        services = client._transport.app.state.services
        with services.tails.one_more("acme", services.limits(Identity("acme", frozenset(), "acme"))):
            assert code(await client.get("/v1/sessions/demo/turns/0?wait=1")) == "tail_limit"
            assert code(await client.post("/v1/sessions/demo/turns/1", json={"message": "x"}, headers={"Prefer": ""}))
        assert not await store.record(ACME.turn(1)), "a stream that is refused asks nothing"


async def test_the_length_of_bodies_and_the_signals_of_a_turn(api, store):
    await store.submit(ACME.turn(0), request())
    async with api("max_body_bytes = 60\nmax_signals = 1") as client:
        assert (await client.post("/v1/sessions/demo/turns/1", json={"message": "x" * 80})).status_code == 413
        path = "/v1/sessions/demo/turns/0/signals/"
        assert (await client.post(path + "a", json={})).status_code == 202
        assert (await client.post(path + "b", json={})).json()["code"] == "signal_limit"


async def test_the_turns_of_a_session_and_their_signals_by_tenant(api):
    async with api("max_turns_per_session = 1\nmax_signal_bytes = 100") as client:
        assert (await ask(client, 0)).status_code == 202
        assert (await ask(client, 1)).json()["code"] == "turn_limit"
        path = "/v1/sessions/demo/turns/0/signals/"
        assert (await client.post(path + "a", json={"payload": "x" * 100})).json()["code"] == "signal_limit"
        for index in range(2):
            assert (await ask(client, index, **{"x-api-key": "tw_other"})).status_code == 202


SECOND = {"x-api-key": "tw_second"}


@pytest.mark.parametrize(
    ("limit", "refusal"),
    [
        ("max_open_turns = 1", "open_turns_limit"),
        ("max_sessions = 1", "session_limit"),
        ("requests_per_s = 0.001", "rate_limited"),
    ],
)
async def test_a_key_has_limits_besides_those_of_its_tenant(api, limit, refusal):
    async with api("max_open_turns = 10", limit) as client:
        assert (await ask(client, 0, "one", **SECOND)).status_code == 202
        assert code(await ask(client, 0, "two", **SECOND)) == refusal
        assert (await ask(client, 0, "three")).status_code == 202, "the other key of the tenant"


async def test_the_smaller_limit_counts_for_one_request(api):
    async with api("max_body_bytes = 60", "max_body_bytes = 5000\nmax_signals = 1") as client:
        assert (await ask(client, 0, **SECOND)).status_code == 202
        assert (
            await client.post("/v1/sessions/demo/turns/1", json={"message": "x" * 80}, headers=SECOND)
        ).status_code == 413
        path = "/v1/sessions/demo/turns/0/signals/"
        assert (await client.post(path + "a", json={}, headers=SECOND)).status_code == 202
        assert (await client.post(path + "b", json={}, headers=SECOND)).json()["code"] == "signal_limit"
        assert (await client.post(path + "b", json={})).status_code == 202


async def test_a_key_without_room_for_another_stream(api, store):
    await store.submit(ACME.turn(0), request())
    async with api("", "max_tails = 1") as client:
        services = client._transport.app.state.services
        with services.tails.one_more("acme", services.limits(Identity("acme", frozenset(), "second"))):
            assert code(await client.get("/v1/sessions/demo/turns/0?wait=1", headers=SECOND)) == "tail_limit"
    assert not services.tails._open


async def test_without_limits_nothing_is_counted_and_nothing_told(http, redis):
    response = await http.post(
        "/v1/sessions/demo/turns/0", json={"message": "hello"}, headers={"Prefer": "respond-async"}
    )
    assert response.status_code == 202
    assert "ratelimit" not in response.headers
    assert await redis.keys(f"{keys.RATE_PREFIX}*") + await redis.keys(f"{keys.OWN_OPEN_PREFIX}*") == []
