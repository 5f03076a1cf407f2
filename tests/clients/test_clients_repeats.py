"""What the proxies of deploy/ send again when an API has read a request and is gone before it has answered."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.clients.proxies import PROXIES, Proxied, running
from tests.support.waiting import wait_until

pytestmark = pytest.mark.clients
READY: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SLOW: Final = {"Caddyfile": pytest.mark.long}  # it leaves an API alone for 2 s after each of them
INDEXED, NEXT = "/v1/sessions/s/turns/0", "/v1/sessions/s/turns"


class Dying:
    """Two servers that are ready, but close the connection of each POST when they have read it."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.apis: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, _ = head.decode().split(" ", 2)
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
                await reader.readexactly(int(length[0].split()[1]) if length else 0)
                if method == "POST":
                    self.asked[path] += 1
                    return
                writer.write(READY)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def dying() -> AsyncIterator[Dying]:
    both = Dying()
    async with AsyncExitStack() as stack:
        for _ in range(2):
            server = await stack.enter_async_context(await asyncio.start_server(both.serve, "127.0.0.1", 0))
            host, port = server.sockets[0].getsockname()
            both.apis.append(f"{host}:{port}")
        yield both


async def is_left_unanswered(http: httpx.AsyncClient, request: httpx.Request) -> bool:
    try:
        return (await http.send(request)).status_code in {502, 503}
    except httpx.RemoteProtocolError:  # HAProxy leaves it to the client to ask again
        return True


@pytest.mark.parametrize("path", ["", pytest.param("/chat", marks=pytest.mark.long)])
@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in PROXIES])
async def test_a_post_is_sent_again_only_if_it_asks_for_nothing_new(
    name: str, path: str, dying: Dying, certificate: Path, tmp_path: Path
):
    sent: list[int] = []
    with running(name, tmp_path, dying.apis, certificate, path) as port:
        proxied = Proxied(name, None, port)
        for asked, headers in ((INDEXED, {}), (NEXT, {}), (NEXT, {"Idempotency-Key": "k"})):
            await wait_until(lambda: proxied.is_ready(path), "the proxy is ready")
            before = dying.asked[asked]
            async with proxied.http() as http:
                request = proxied.ask(http, "POST", f"{path}{asked}", {"message": "hi"})
                request.headers.update(headers)
                assert await is_left_unanswered(http, request)
            sent.append(dying.asked[asked] - before)
    of_index, of_next, of_key = sent
    assert of_next == 1, "a second one would ask for a second turn"
    repeats = name != "Caddyfile"
    assert (of_index > 1, of_key > 1) == (repeats, repeats)
