"""The file of models that the page shows, and the one to copy, work as they stand there; only the servers are ours."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.markdown import ROOT, blocks
from tests.worker.backends.rawserver import HEAD, RawServer, raw_server, reply, sse, text
from turnwire.shared.listed_model import ListedModel
from turnwire.shared.models_file import parse_models_file
from turnwire.shared.settings import Settings
from turnwire.shared.usage import Usage
from turnwire.testing import TurnRun, run_turn
from turnwire.worker.backends.models import Models, ModelsHooks

(PAGE,) = [block.text for block in blocks("toml", "docs/how-to/models.md") if block.title == "models.toml"]
COPY = (ROOT / "deploy" / "models.toml").read_text(encoding="utf-8")
ENVIRON = {"MODELS_API_KEY": "sk-ours", "ACME_API_KEY": "sk-acme"}
USAGE = '{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100}}'
ANSWER = HEAD + sse(text("hi", "stop"), USAGE, "[DONE]")


@pytest.fixture
async def servers() -> AsyncIterator[list[RawServer]]:
    async with raw_server() as small, raw_server() as large:
        yield [small, large]


async def asked(shown: str, servers: list[RawServer], folder: Path, **request: Any) -> TurnRun:
    """Run a turn with a file that is shown, on these servers."""
    small, large = (server.url for server in servers)
    path = folder / "models.toml"
    path.write_text(shown.replace("http://127.0.0.1:8080/v1", small).replace("http://127.0.0.1:8081/v1", large))
    settings = Settings(models_file=str(path), llm_initial_backoff_ms=1, llm_max_backoff_ms=1)
    models = Models(settings, ENVIRON)
    try:
        return await run_turn(ModelsHooks(models), "hello", settings=settings, **request)
    finally:
        await models.aclose()


@pytest.mark.parametrize("shown", [PAGE, COPY], ids=["page", "deploy"])
async def test_the_default_answers_in_its_own_words(servers, tmp_path, shown):
    servers[0].play(ANSWER)
    run = await asked(shown, servers, tmp_path)
    assert (run.status, run.final_text) == ("completed", "hi")
    sent = msgspec.json.decode(servers[0].requests[0].body)
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert (sent["temperature"], sent["max_tokens"]) == (0.3, 1000)
    assert run.usage == Usage(
        1,
        1000,
        100,
        150_000 + 60_000,
        "USD",
        "2026-11",
        "small",
        cached_tokens=None,
        reasoning_tokens=None,
        finish_reason="stop",
    )


async def test_the_next_model_answers_for_a_tenant_with_its_own_key(servers, tmp_path):
    servers[0].play(reply(503))
    servers[1].play(ANSWER)
    run = await asked(PAGE, servers, tmp_path, tenant="acme")
    assert "model.fallback" in [event.type for event in run.events]
    assert [server.requests[0].headers["authorization"] for server in servers] == ["Bearer sk-ours", "Bearer sk-acme"]


async def test_a_tenant_that_is_not_listed_may_not_ask_the_large_one(servers, tmp_path):
    run = await asked(PAGE, servers, tmp_path, tenant="other", model="large")
    assert run.error is not None
    assert (run.error.code, run.error.retryable) == ("unknown_model", True)
    assert [server.requests for server in servers] == [[], []]


def test_the_file_to_copy_names_each_key():
    names = [field.encode_name for field in msgspec.structs.fields(ListedModel)]
    assert [name for name in names if not re.search(rf"\b{name}\b", COPY)] == []
    assert parse_models_file(COPY).default == "small"
