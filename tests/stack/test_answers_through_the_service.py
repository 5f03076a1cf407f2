"""Whole processes, with a model server that keeps answers: killed workers, a cancelled turn, branches, a callback."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis import Redis
from standardwebhooks.webhooks import Webhook

from stack.cluster import Stack
from tests.support.model_server import RunningModelServer, running_model_server
from tests.support.waiting import wait_until
from tests.worker.backends.rawserver import RawServer, raw_server, reply
from turnwire.shared.keys import session_key

SECRET = "whsec_" + base64.b64encode(b"1" * 32).decode()


class Service:
    """An API, two workers, a model server, and a server that takes callbacks."""

    def __init__(self, stack: Stack, http: httpx.AsyncClient, model: RunningModelServer, told: RawServer) -> None:
        assert stack.redis
        self.stack, self.http, self.model, self.told = stack, http, model, told
        self._redis: Any = Redis.from_url(stack.redis.url)

    def worker_of(self, session: str) -> Any:
        """Return the process that runs turn 0 of a session."""
        holder = (self._redis.get(session_key(session).turn(0).lease) or b"").decode()
        return next(worker for worker in self.stack.worker if f"/{worker.pid}/" in holder)

    async def ask(self, session: str, message: str, **fields: Any) -> dict[str, Any]:
        """Ask the next turn of a session, and return its record at its end."""
        response = await self.http.post(f"/v1/sessions/{session}/turns", json={"message": message, **fields},
                                        headers={"Prefer": "respond-async"})  # fmt: skip
        assert response.status_code == 202, response.text
        ended = await self.http.get(f"{response.headers['location']}?wait=30")
        return ended.json()


@pytest.fixture
async def service(tmp_path) -> AsyncIterator[Service]:
    async with running_model_server() as model, raw_server() as told:
        env = {
            "TURNWIRE_LLM_BASE_URL": model.url,
            "TURNWIRE_LLM_CONTINUE": "auto",
            "TURNWIRE_DRAIN_S": "0",
            "TURNWIRE_CALLBACK_HOSTS": told.url.removeprefix("http://").partition("/")[0],
            "TURNWIRE_CALLBACK_PRIVATE": "true",
            "TURNWIRE_CALLBACK_SECRET": SECRET,
        }
        stack = Stack(tmp_path, workers=2, env=env)
        await asyncio.to_thread(stack.start)
        try:
            async with httpx.AsyncClient(base_url=stack.base_urls[0], timeout=40, trust_env=False) as http:
                yield Service(stack, http, model, told)
        finally:
            await asyncio.to_thread(stack.stop, hurry=lambda: True)


async def lines_of(service: Service, session: str, message: str, **fields: Any) -> AsyncIterator[dict[str, Any]]:
    url, body = f"/v1/sessions/{session}/turns/0", {"message": message, **fields}
    async with service.http.stream("POST", url, json=body) as response:
        async for line in response.aiter_lines():
            yield json.loads(line)


async def test_answers_branches_and_callbacks(service: Service) -> None:
    service.told.play(reply(200))
    lines: list[dict[str, Any]] = []
    async for line in lines_of(service, "a", "a 60 40", callback=service.told.url):
        lines.append(line)
        if len(lines) == 20:
            service.worker_of("a").kill()
    assert [line["type"] for line in lines].count("session.run.resumed") == 1
    text = " ".join(f"a.{number}" for number in range(60))
    assert "".join(line["data"].get("delta", "") for line in lines) == text, "one connection, nothing twice"
    assert service.model.paid == 60, "no word was made twice"

    await service.told.until(lambda: len(service.told.requests) > 0)
    [callback] = service.told.requests
    said = Webhook(SECRET).verify(callback.body.decode(), dict(callback.headers))
    assert (said["type"], said["data"]["attempt"]) == ("turn.completed", 2)

    again = await service.ask("a", "a 60 400", parent=-1)  # another answer to the first message
    edited = await service.ask("a", "b 5 400", parent=-1)
    below = await service.ask("a", "c 5 400", parent=again["turn_index"])
    listed = (await service.http.get("/v1/sessions/a/turns")).json()["turns"]
    assert {turn["turn_index"]: turn["parent"] for turn in listed} == {0: -1, 1: -1, 2: -1, 3: 1}
    assert (again["final_text"], edited["final_text"].split()[0], below["status"]) == (text, "b.0", "completed")
    assert service.model.asked(-1) == ["a 60 400", text, "c 5 400"], "the history is that of the branch"


async def test_a_turn_that_is_cancelled_after_the_death_of_its_worker_costs_nothing_more(service: Service) -> None:
    lines: list[dict[str, Any]] = []
    async for line in lines_of(service, "a", "a 20000 50"):
        lines.append(line)
        if len(lines) == 20:
            for worker in service.stack.worker:
                worker.kill()
            response = await service.http.post("/v1/sessions/a/turns/0/cancel")
            assert response.status_code == 202
            assert service.model.paid < 10_000, "the model goes on"
            await asyncio.to_thread(service.stack.worker[0].start)
    assert lines[-1]["data"]["code"] == "cancelled"
    await wait_until(lambda: service.model.idle, "nobody makes anything any more")


@pytest.mark.long
async def test_a_callback_reaches_a_server_that_fails_twice_also_when_the_workers_die(service: Service) -> None:
    for status in (503, 503, 200):
        service.told.play(reply(status))
    record = await service.ask("w", "w 3 400", callback=service.told.url)
    assert record["status"] == "completed"
    async with asyncio.timeout(60):
        await service.told.until(lambda: len(service.told.requests) == 1)
        for worker in service.stack.worker:
            worker.kill()
        assert await waiting(service) == ["chat:w:0"]
        for worker in service.stack.worker:
            await asyncio.to_thread(worker.start)
        await service.told.until(lambda: len(service.told.requests) == 3)
    for request in service.told.requests:
        said = Webhook(SECRET).verify(request.body.decode(), dict(request.headers))
        assert (said["type"], said["data"]["run_id"]) == ("turn.completed", "chat:w:0")
    assert len({request.headers["webhook-id"] for request in service.told.requests}) == 1
    await wait_until(lambda: nothing_waits(service), "the callback to be off the list")


async def nothing_waits(service: Service) -> bool:
    return not await waiting(service)


async def waiting(service: Service) -> list[str]:
    """Return the turns whose callback was not made yet, as operators see them."""
    listed = (await service.http.get("/v1/admin/callbacks")).json()
    return [turn["run_id"] for turn in listed["turns"]]
