"""Nothing that is audited happens without its entry: where the entry cannot be written, the deed is not done."""

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.support.key_file import key_block, write_key_file
from tests.support.operators import ENTRY, runs
from tests.support.turns import request
from turnwire.api.app import create_app
from turnwire.api.endpoints.operation import Operation
from turnwire.api.endpoints.routes import OPERATIONS
from turnwire.shared import channels, keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.store.listing import Listing

TURN = SessionKey("acme", "s").turn(0)
QUEUED = SessionKey("acme", "queued").turn(0)
WORKER = f"{socket.gethostname()}/1/aaaaaa"
SCOPES = ["turns", "tokens", "admin"]
CHANGING = [each for each in OPERATIONS if each.method != "GET" and not each.begins_session]
IN_ONE_ROUND_TRIP = {"signalTurn"}  # its entry goes before it, but nobody waits for it
BODIES: dict[str, dict[str, Any]] = {
    "makeToken": {"session": "s", "scopes": ["read"]},
    "revokeTokens": {"user": "ada"},
}


@pytest.fixture
async def http(settings, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    key_file = write_key_file(tmp_path / "keys.toml", key_block("all", "tw_all", "acme", SCOPES))
    secured = {"api_keys_file": str(key_file), "token_secret": "t" * 40, "development": True}
    app = create_app(msgspec.structs.replace(settings, **secured))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"x-api-key": "tw_all"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client
    await app.state.services.redis.aclose(close_connection_pool=True)


@pytest.fixture
async def kills(store, queue, redis, settings, monkeypatch) -> AsyncIterator[list[tuple[int, int]]]:
    """A worker on this host runs a turn, and another turn waits. Yields the signals that were sent to processes."""
    await runs(store, queue, TURN, WORKER, user="ada")
    await store.submit(QUEUED, request(user="ada"))
    now_ms = await Listing(queue).now_ms()
    entry = msgspec.structs.replace(ENTRY, host=socket.gethostname(), pid=2**22 + 1, at=now_ms)
    await queue.extend(WORKER, msgspec.json.encode(entry), [TURN.run_id])
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    async with redis.pubsub() as held:
        await held.subscribe(channels.alive_channel(settings.deployment_name, WORKER))
        await held.get_message(timeout=5)
        yield sent


async def everything(redis) -> dict[bytes, bytes]:
    """All that is stored but the audit."""
    return {name: await redis.dump(name) for name in await redis.keys("*") if name != keys.AUDIT.encode()}


async def paused(http: httpx.AsyncClient, redis, operation: Operation) -> None:
    """Pause what the operation resumes, so that there is something to do."""
    if operation.name.startswith("resume"):
        await http.post(operation.path.format(tenant="acme", project="p").replace("resume", "pause"), json={})
        await redis.delete(keys.AUDIT)


async def ask(http: httpx.AsyncClient, operation: Operation) -> httpx.Response:
    turn = QUEUED if operation.name in {"requeueTurn", "cancelAnyTurn", "cancelTurn"} else TURN
    names = {"run_id": turn.run_id, "worker": WORKER.replace("/", "%2F"), "project": "p", "tenant": "acme"}
    path = operation.path.format(session=turn.session.session, index=0, key="go", user="ada", **names)
    body = None if operation.method == "DELETE" else BODIES.get(operation.name, {})
    return await http.request(operation.method, path, json=body)


@pytest.mark.parametrize("operation", CHANGING, ids=lambda operation: operation.name)
async def test_a_deed_has_an_entry(http, redis, kills, operation: Operation):
    await paused(http, redis, operation)
    before = await everything(redis)
    answer = await ask(http, operation)
    assert answer.status_code in {200, 202}, answer.text
    assert await redis.xlen(keys.AUDIT) == 1
    is_stored = operation.name not in {"makeToken", "killWorker"}
    assert (await everything(redis) != before, kills != []) == (is_stored, operation.name == "killWorker")


@pytest.mark.parametrize("operation", CHANGING, ids=lambda operation: operation.name)
async def test_without_its_entry_a_deed_is_not_done(http, redis, kills, operation: Operation):
    await paused(http, redis, operation)
    await redis.set(keys.AUDIT, "not a stream, so no entry can be written")
    before = await everything(redis)
    answer = await ask(http, operation)
    assert answer.status_code >= 500, "nobody is told that it was done"
    assert "token" not in answer.json()
    if operation.name not in IN_ONE_ROUND_TRIP:
        assert await everything(redis) == before
        assert kills == []
