"""What a client gets, and what the log says, when a handler raises."""

import gc
import logging

import httpx
import pytest
from starlette.routing import Route

from tests.support.served import listening
from tests.support.waiting import wait_until
from turnwire.api.app import create_app
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.protocol import Protocol
from turnwire.api.edge.resource import Resource
from turnwire.api.endpoints.stream import start_of_stream
from turnwire.api.following.encode import NDJSON
from turnwire.shared.errors import NotFound, TurnFailure


@pytest.fixture
async def client(settings):
    async def defect(_):
        raise LookupError("PLANTED")

    async def not_for_clients(_):
        raise TurnFailure("PLANTED")

    async def begun(exchange: Exchange):
        await exchange.send(start_of_stream(NDJSON, {}))
        await exchange.send({"type": "http.response.body", "body": b"{}\n", "more_body": True})
        raise NotFound("too late")

    app = create_app(settings)
    for handler in (defect, not_for_clients, begun):
        app.router.routes.insert(0, Route(f"/{handler.__name__}", Resource({"GET": handler})))
    async with (
        listening(app, Protocol, lifespan="on") as port,
        httpx.AsyncClient(trust_env=False, timeout=10) as client,
    ):
        client.base_url = f"http://127.0.0.1:{port}"
        yield client


@pytest.mark.parametrize("path", ["/defect", "/not_for_clients"])
async def test_a_defect_is_logged_and_the_client_is_not_told_what_it_was(client, path, caplog):
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "PLANTED" not in answer.text
    (logged,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "PLANTED" in str(logged.exc_info)


async def test_an_error_after_the_beginning_of_an_answer_ends_it_without_another_answer(client, caplog):
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/begun")
    assert [record.exc_info[0] for record in caplog.records if record.levelno >= logging.ERROR] == [NotFound]


async def test_an_unknown_path_and_a_wrong_method_are_problems(client):
    answers = [await client.get("/v1/nothing"), await client.put("/healthz")]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (404, "not_found"),
        (405, "method_not_allowed"),
    ]


def kept() -> set[str]:
    """The kinds of objects of streams that are in memory."""
    kinds = {kind.__name__ for kind in map(type, gc.get_objects()) if kind.__module__.startswith("turnwire.api")}
    return kinds & {"Tail", "Exchange", "Wire", "_Sender", "Joined", "_OneMore"}


async def test_a_stream_that_has_ended_is_freed_at_once(client):
    """An API holds thousands of streams. What it would leave to the garbage collector would add up between two runs."""
    await client.post("/v1/sessions/s/turns", json={"message": "hi"}, headers={"prefer": "respond-async"})
    gc.collect()
    gc.disable()
    try:
        async with client.stream("GET", "/v1/sessions/s/turns/0/events", params={"keepalive": 1}) as answer:
            async for _ in answer.aiter_raw():  # the first sign of life
                break
            assert "Tail" in kept()
        await wait_until(lambda: not kept(), "everything that belonged to the stream to be freed")
    finally:
        gc.enable()
