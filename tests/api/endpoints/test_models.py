"""A client may ask the models that are listed for its tenant. Another name is refused before anything is written."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.key_file import key_block, write_key_file
from tests.support.turns import claim
from turnwire.api.app import create_app
from turnwire.shared.keys import SessionKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.settings import Settings
from turnwire.shared.store.turns import TurnStore

FILE = """
[models.small]
url = "http://127.0.0.1:1/v1"
key_env = "NOT_SET_WHERE_THE_API_RUNS"

[models.large]
url = "http://127.0.0.1:1/v1"
tenants = ["acme"]
"""
ApiMaker = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def api(settings: Settings, redis, tmp_path: Path) -> ApiMaker:
    """Makes an API for the tenants acme and other, with more settings."""

    @asynccontextmanager
    async def made(**more: str) -> AsyncIterator[httpx.AsyncClient]:
        blocks = [key_block(name, f"tw_{name}", name, ["turns"]) for name in ("acme", "other")]
        path = write_key_file(tmp_path / "keys.toml", *blocks)
        values = {name: getattr(settings, name) for name in settings.__struct_fields__} | {"api_keys_file": str(path)}
        app = create_app(Settings(**values | more))
        headers = {"Prefer": "respond-async", "x-api-key": "tw_acme"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            try:
                yield client
            finally:
                await app.state.services.redis.aclose(close_connection_pool=True)

    return made


@pytest.fixture
def models_file(tmp_path: Path) -> str:
    path = tmp_path / "models.toml"
    path.write_text(FILE, encoding="utf-8")
    return str(path)


async def ask(client: httpx.AsyncClient, model: str | None, tenant: str = "acme", index: int = 0) -> httpx.Response:
    body = {"message": "hello", "model": model, "on_busy": "concurrent"}
    return await client.post(f"/v1/sessions/demo/turns/{index}", json=body, headers={"x-api-key": f"tw_{tenant}"})


async def statuses(client: httpx.AsyncClient, *models: str | None) -> list[int]:
    return [(await ask(client, model, index=index)).status_code for index, model in enumerate(models)]


async def test_a_model_that_is_not_listed_is_refused_and_leaves_nothing(api, redis, models_file):
    async with api(models_file=models_file) as client:
        refused = await ask(client, "huge")
        told = refused.json()
        assert (refused.status_code, told["code"], told["retryable"]) == (422, "unknown_model", False)
        assert "'huge'" in told["detail"]
        next_turn = await client.post("/v1/sessions/demo/turns", json={"message": "hello", "model": "huge"})
        assert next_turn.json()["code"] == "unknown_model"
        assert await redis.keys("*") == []
        assert await statuses(client, "small", "large", None) == [202, 202, 202]


async def test_a_model_of_another_tenant_is_refused_in_the_words_of_one_that_is_missing(api, models_file):
    async with api(models_file=models_file) as client:
        foreign, missing = await ask(client, "large", "other"), await ask(client, "lorge", "other")
        assert foreign.json() == {**missing.json(), "detail": missing.json()["detail"].replace("lorge", "large")}


async def test_a_tenant_that_may_not_ask_the_default_has_to_name_a_model(api, tmp_path, models_file):
    (tmp_path / "models.toml").write_text('default = "large"\n' + FILE, encoding="utf-8")
    async with api(models_file=models_file) as client:
        assert "no model is named" in (await ask(client, None, "other")).json()["detail"]
        assert (await ask(client, None, "acme")).status_code == 202


async def test_a_completed_turn_is_had_again_though_its_model_is_gone(api, store: TurnStore, tmp_path, models_file):
    async with api(models_file=models_file) as client:
        await ask(client, "large")
        key = SessionKey("acme", "demo").turn(0)
        claimed = await claim(store, key)
        await store.settle(claimed, TurnState.COMPLETED, claimed.next_seq, [], {"final_text": "hi", "persist": "done"})
    (tmp_path / "models.toml").write_text(FILE.partition("[models.large]")[0], encoding="utf-8")
    async with api(models_file=models_file) as client:
        again = await ask(client, "large")
        assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
        assert (await ask(client, "large", index=1)).status_code == 422


async def names(client: httpx.AsyncClient, tenant: str = "acme") -> list[str]:
    answer = (await client.get("/v1/models", headers={"x-api-key": f"tw_{tenant}"})).json()
    assert answer["object"] == "list"
    assert all(set(model) == {"id", "object", "created", "owned_by"} for model in answer["data"])
    return [model["id"] for model in answer["data"]]


async def test_the_list_has_what_the_tenant_may_ask(api, models_file):
    async with api(models_file=models_file) as client:
        assert (await names(client), await names(client, "other")) == (["small", "large"], ["small"])


async def test_with_one_model_server_its_models_may_be_asked_and_no_others(api):
    async with api(llm_base_url="http://127.0.0.1:1/v1", llm_model="tiny", llm_models="large,tiny") as client:
        assert await names(client) == ["tiny", "large"]
        assert await statuses(client, "tiny", "large", "o1") == [202, 202, 422]


@pytest.mark.parametrize("more", [{}, {"llm_base_url": "http://127.0.0.1:1/v1", "hooks": "a_product:hooks"}])
async def test_without_a_list_the_product_decides_about_names(api, more):
    async with api(**more) as client:
        assert await names(client) == []
        assert (await ask(client, "anything")).status_code == 202


async def test_with_hooks_a_list_that_is_set_counts(api):
    async with api(hooks="a_product:hooks", llm_models="fast,slow", llm_model="fast") as client:
        assert (await ask(client, "anything")).json()["code"] == "unknown_model"
