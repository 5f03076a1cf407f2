"""The project and the priority of a request decide which workers take its turn, and how soon."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.support.key_file import key_block, write_key_file
from tests.support.turns import SESSION
from turnwire.api.app import create_app
from turnwire.shared import keys
from turnwire.shared.errors import SettingsError
from turnwire.shared.keys import SessionKey, TurnKey
from turnwire.shared.lanes import read_pools, read_project_pools

ASYNC = {"Prefer": "respond-async", "x-api-key": "tw_acme"}


@pytest.fixture
async def pooled(settings, redis, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """An API that puts the project `legal` into a pool of its own, and a tenant of weight 3."""
    path = write_key_file(
        tmp_path / "keys.toml", key_block("acme", "tw_acme", "acme", ["turns"]), "[tenant.acme]\nweight = 3"
    )
    changed = msgspec.structs.replace(settings, project_pools="legal=gpu,*=cpu", api_keys_file=str(path))
    app = create_app(changed)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client
    await app.state.services.redis.aclose(close_connection_pool=True)


async def asked(http: httpx.AsyncClient, key: TurnKey, **fields: str) -> dict[str, object]:
    path = f"/v1/sessions/{key.session.session}/turns/{key.index}"
    response = await http.post(path, json={"message": "hello", **fields}, headers=ASYNC)
    assert response.status_code == 202, response.text
    record: dict[str, object] = response.json()
    return record


async def test_the_project_chooses_the_pool_and_the_request_the_priority(pooled, redis):
    acme = SessionKey("acme", "demo")
    record = await asked(pooled, acme.turn(0), project="legal", priority="batch")
    assert (record["pool"], record["priority"]) == ("gpu", "batch")
    assert await redis.get(keys.LANE_PREFIX + acme.turn(0).run_id) == b"gpu:batch"
    assert await redis.zrange(keys.line("gpu:batch", "acme")[2], 0, -1) == [acme.turn(0).run_id.encode()]
    assert await redis.get(keys.WEIGHT_PREFIX + "acme") == b"3.0"
    other = await asked(pooled, acme.turn(1), on_busy="concurrent", project="tax")
    assert (other["pool"], other["priority"]) == ("cpu", "interactive")


async def test_without_settings_every_turn_is_an_interactive_one_of_the_default_pool(http, redis):
    record = await asked(http, SESSION.turn(0), project="legal")
    assert (record["pool"], record["priority"]) == ("default", "interactive")
    assert not await redis.hexists(SESSION.turn(0).record, "pool")
    assert await redis.zrange(keys.line("default", "default")[2], 0, -1) == [SESSION.turn(0).run_id.encode()]


async def test_an_unknown_priority_is_refused(http, redis):
    body = {"message": "hello", "priority": "urgent"}
    response = await http.post("/v1/sessions/demo/turns/0", json=body, headers=ASYNC)
    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert await redis.keys("*") == []


@pytest.mark.parametrize("text", ["", "a,a", "a,,b", "a b", "ä", "x" * 65, "a:b"])
def test_pools_that_make_no_sense_are_refused(text):
    with pytest.raises(SettingsError, match="TURNWIRE_POOLS"):
        read_pools(text)


@pytest.mark.parametrize("text", ["legal", "=gpu", "legal=", "legal=gpu,legal=cpu", "legal=g p u"])
def test_pools_of_projects_that_make_no_sense_are_refused(text):
    with pytest.raises(SettingsError, match="TURNWIRE_PROJECT_POOLS"):
        read_project_pools(text)
