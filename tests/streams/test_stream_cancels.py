"""With `on_disconnect: cancel`, a turn is cancelled whenever its client leaves, also at an unusual moment."""

import asyncio
import json
from collections.abc import Callable
from contextlib import ExitStack, suppress
from socket import create_connection, socket
from typing import Final

import pytest

from tests.support.observed import Observed
from tests.support.rawtail import LIMIT_S, address, finish, request, reset
from tests.support.served import listening
from tests.support.waiting import let_pass, wait_until
from turnwire.api.app import create_app
from turnwire.api.endpoints import turns
from turnwire.shared.keys import session_key
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.settings import Settings

CLIENTS: Final = 20
LEAVE: Final = [finish, reset]


def ask(url: str, session: str, message: str = "hello", query: str = "") -> socket:
    """Return the connection of a client that has sent its whole request."""
    body = json.dumps({"message": message, "on_disconnect": "cancel"}).encode()
    head = f"POST /v1/sessions/{session}/turns/0{query} HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = create_connection(address(url), timeout=LIMIT_S)
    connection.sendall(head.encode() + body)
    return connection


async def cancelled(service: Observed, sessions: list[str]) -> int:
    """Wait until each of these turns is cancelled. Returns how many exist: a request may not have been read at all."""

    async def found() -> list[TurnState]:
        records = [await service.store.record(session_key(session).turn(0)) for session in sessions]
        return [record.status for record in records if record]

    async def settled() -> bool:
        return all(status == TurnState.CANCELLED for status in await found())

    await wait_until(lambda: not service.clients(), "all have left")
    await wait_until(settled, "each turn is cancelled")
    return len(await found())


@pytest.mark.parametrize("leave", LEAVE)
async def test_a_client_that_leaves_before_its_answer_begins_cancels(
    service: Observed, leave: Callable[[socket], None]
):  # fmt: skip
    sessions = []
    for number in range(60):
        sessions.append(f"early-{leave.__name__}-{number}")
        with ExitStack() as stack:
            connection = stack.enter_context(ask(service.url, sessions[-1]))
            await let_pass(number % 4 / 2000)
            leave(connection)
    assert await cancelled(service, sessions) > 0


@pytest.mark.parametrize("kilobytes", [1, 100, 400, 900])
async def test_a_client_that_sent_a_large_request_cancels(service: Observed, kilobytes: int):
    sessions = [f"large-{kilobytes}-{number}" for number in range(CLIENTS)]
    message = "x" * kilobytes * 1000
    with ExitStack() as stack:
        connections = [
            stack.enter_context(await asyncio.to_thread(ask, service.url, session, message)) for session in sessions
        ]
        for connection in connections:
            assert await asyncio.to_thread(connection.recv, 4096)  # its stream has begun
        for connection in connections:
            finish(connection)
    assert await cancelled(service, sessions) == CLIENTS


@pytest.mark.parametrize("leave", LEAVE)
async def test_a_client_that_has_asked_for_more_already_cancels(service: Observed, leave: Callable[[socket], None]):
    sessions = [f"ahead-{leave.__name__}-{number}" for number in range(CLIENTS)]
    with ExitStack() as stack:
        connections = [stack.enter_context(ask(service.url, session)) for session in sessions]
        for connection, session in zip(connections, sessions, strict=True):
            assert await asyncio.to_thread(connection.recv, 4096)
            connection.sendall(2 * request(f"/v1/sessions/{session}/turns/0"))
        await let_pass(0.1)
        for connection in connections:
            leave(connection)
    assert await cancelled(service, sessions) == CLIENTS


@pytest.mark.parametrize(("query", "blank_lines"), [("", True), ("?keepalive=60", False)])
async def test_a_proxy_that_ends_silent_connections_does_not_cancel(
    service: Observed, monkeypatch: pytest.MonkeyPatch, query: str, blank_lines: bool
):
    monkeypatch.setattr(turns, "CANCEL_KEEPALIVE_S", 0.1)
    assert service.stack.redis is not None
    app = create_app(Settings(redis_url=service.stack.redis.url))
    async with listening(app, lifespan="on") as port:
        connection = await asyncio.to_thread(ask, f"http://127.0.0.1:{port}", f"silent-{blank_lines}", query=query)
        with connection:
            connection.settimeout(0.5)  # as long as a proxy would wait
            received = await asyncio.to_thread(connection.recv, 4096)
            with suppress(TimeoutError):
                received += await asyncio.to_thread(connection.recv, 4096)
    assert received.endswith(b"\r\n\r\n" + b"1\r\n\n\r\n" * blank_lines)
