"""Clients connect while Redis does not answer, and clients wait for longer than a proxy would."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from stack.cluster import Stack
from tests.support.observed import Observed
from tests.support.rawtail import LIMIT_S
from tests.support.served import listening
from turnwire.api.app import create_app
from turnwire.api.endpoints import records
from turnwire.shared.settings import Settings

SSE = {"Accept": "text/event-stream"}


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Observed]:
    """Run a service with a Redis of its own, which a test may stop."""
    with Stack(tmp_path, workers=0, env={"TURNWIRE_REDIS_TIMEOUT_S": "0.5"}) as stack:
        async with Observed(stack) as observed:
            yield observed
        assert "Traceback" not in stack.api[0].log(), stack.api[0].log()


async def test_an_event_source_that_comes_during_an_outage_waits_and_then_resumes(alone: Observed):
    """A status of 503 would end an EventSource for ever."""
    turn = await alone.turn("away")
    await turn.say("a", "b")
    assert alone.stack.redis is not None
    headers = SSE | {"Last-Event-ID": "1-1"}
    async with httpx.AsyncClient(base_url=alone.url, timeout=LIMIT_S, trust_env=False) as http:
        alone.stack.redis.pause()
        try:
            refused = await http.get(turn.events)
            assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
            assert "retry-after" in refused.headers
            async with http.stream("GET", turn.events, headers=headers) as held:
                assert (held.status_code, held.headers["content-type"]) == (200, "text/event-stream")
                chunks = held.aiter_bytes()
                assert (await anext(chunks)).startswith(b"retry: 1000\n: \n")
                alone.stack.redis.resume()
                assert [part async for part in chunks] == []  # the stream ends, so that the client connects again
        finally:
            alone.stack.redis.resume()
        await turn.end()
        resumed = await http.get(turn.events, headers=headers)
    assert (resumed.status_code, resumed.content.count(b"id: ")) == (200, 2)
    assert resumed.content.startswith(b"retry: 1000\nid: 1-2\n")


async def test_an_event_source_that_leaves_during_an_outage_leaves_nothing(alone: Observed):
    turn = await alone.turn("left")
    before = alone.descriptors()
    assert alone.stack.redis is not None
    async with httpx.AsyncClient(base_url=alone.url, timeout=LIMIT_S, trust_env=False) as http:
        alone.stack.redis.pause()
        try:
            async with http.stream("GET", turn.events, headers=SSE) as held:
                assert held.status_code == 200
        finally:
            alone.stack.redis.resume()
    await alone.left(before)


@pytest.mark.parametrize("wait", ["60", "33.333333333333336", "1e1"])
async def test_a_request_is_held_for_less_time_than_proxies_give_it(
    service: Observed, monkeypatch: pytest.MonkeyPatch, wait: str
):
    assert records.HELD_S < 50
    monkeypatch.setattr(records, "HELD_S", 0.2)
    turn = await service.turn(f"held-{wait.replace('.', '-')}")
    assert service.stack.redis is not None
    app = create_app(Settings(redis_url=service.stack.redis.url))
    async with listening(app, lifespan="on") as port, httpx.AsyncClient(timeout=8, trust_env=False) as http:
        path = turn.events.removesuffix("/events")
        answer = await http.get(f"http://127.0.0.1:{port}{path}", params={"wait": wait})
    assert (answer.status_code, answer.json()["status"]) == (200, "running")


async def test_an_answer_is_located_under_the_path_of_the_proxy(service: Observed):
    assert service.stack.redis is not None
    app = create_app(Settings(redis_url=service.stack.redis.url, root_path="/chat"))
    async with listening(app, lifespan="on") as port, httpx.AsyncClient(timeout=8, trust_env=False) as http:
        url = f"http://127.0.0.1:{port}/v1/sessions/rooted/turns"
        answer = await http.post(url, json={"message": "hi"}, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.headers["location"]) == (202, "/chat/v1/sessions/rooted/turns/0")
    assert answer.headers["content-location"] == answer.headers["location"]
