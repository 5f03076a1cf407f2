"""No request that is made from the description, or breaks it, is answered with a status of 500 or above.

It runs in this process, because a new process and the programs of Schemathesis cost more than the requests do. The run
of `python3 dev.py fuzz` makes other requests, and more of them, with real processes.
"""

import asyncio
import json
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.fuzz.described import Asked, Maker
from tests.support.key_file import key_block, write_key_file
from tests.support.served import listening
from tests.support.turns import WORKER, request
from turnwire.api.app import create_app
from turnwire.api.edge.client_address import TrustedProxies
from turnwire.api.edge.cors import Origins
from turnwire.api.edge.protocol import for_site
from turnwire.api.endpoints import probes
from turnwire.shared import keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.settings import Settings
from turnwire.worker.pool.entry import OwnEntry

READERS: Final = 8  # connections at a time
LIMIT_S: Final = 20.0
ACCEPT: Final = "Accept: application/json, */*;q=0.5"  # no stream of a turn that would not end
ENDLESS: Final = "followSession"  # of its stream only the head is read
KEYS: Final = {
    "reader": (["read"], None),
    "writer": (["turns", "tokens"], None),
    "person": (["turns", "tokens"], "ada"),
    "operator": (["turns", "read", "tokens", "admin"], None),
}
# A stream of these sessions ends at once, because their turns have ended, or because there are none.
READ: Final = {
    "session": ["done", "done", "none"],
    "index": ["0", "0", "1"],
    "key": ["go"],
    "user": ["nobody"],
    "run_id": ["chat:acme~done:0", "chat:acme~none:0"],
    "worker": [WORKER],
    "tenant": ["nobody"],
    "project": ["nothing"],
}
CHANGED: Final = READ | {
    "session": ["asked", "more"],
    "index": ["0", "1", "2", "3"],
    "run_id": [f"chat:acme~asked:{index}" for index in range(4)],
}


class Connection:
    """A connection that is opened again whenever the server closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, asked: Asked, secret: str | None) -> int:
        """Send a request and read its answer to the end. Returns the status; 0: the server closed the connection."""
        lines = [f"{asked.operation.method} {asked.target} HTTP/1.1", "Host: localhost", ACCEPT]
        lines += [f"{name}: {value}" for name, value in asked.headers if value.isprintable()]
        lines += [f"Authorization: Bearer {secret}"] if secret else []
        body = asked.body
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        reader, writer = self._streams
        async with asyncio.timeout(LIMIT_S):
            try:
                writer.write(head + (body or b""))
                return await self._answer(reader, is_endless=asked.operation.id == ENDLESS)
            except (asyncio.IncompleteReadError, ConnectionError):
                self.close()
                return 0

    async def _answer(self, reader: asyncio.StreamReader, *, is_endless: bool) -> int:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        if is_endless and status == 200:
            self.close()
            return status
        if b"transfer-encoding: chunked" in head:
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readline()
        elif b"content-length: " in head and status not in {204, 304}:
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
        if b"connection: close" in head:
            self.close()
        return status

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


@pytest.fixture
async def port(settings: Settings, redis, store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(probes, "READY_WITHIN_S", LIMIT_S)  # Redis and this process may have to wait for a processor
    done = SessionKey("acme", "done").turn(0)
    await store.submit(done, request())
    await store.cancel(done)
    await redis.hset(keys.WORKERS, WORKER, OwnEntry(1, lambda: 0).next(""))
    blocks = [key_block(name, f"tw_{name}", "acme", scopes, user) for name, (scopes, user) in KEYS.items()]
    path = write_key_file(tmp_path / "keys.toml", *blocks)
    values = {name: getattr(settings, name) for name in settings.__struct_fields__}
    app = create_app(Settings(**values | {"api_keys_file": str(path), "token_secret": "t" * 40, "retention_s": 3600}))
    async with listening(app, for_site(Origins(None), TrustedProxies(None)), lifespan="on") as number:
        yield number
    await redis.flushall()


async def document_of(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    while part := await reader.read():
        answer += part
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("requests", "seed"),
    [(5000, 7), pytest.param(100_000, 11, marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
async def test_no_request_is_answered_with_a_server_error(
    port: int, requests: int, seed: int, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.ERROR)
    maker = Maker(json.loads(await document_of(port)), seed)
    statuses: dict[str, Counter[int]] = defaultdict(Counter)
    wrong: list[tuple[int, Asked]] = []
    left = iter(range(requests))

    async def send() -> None:
        connection = Connection(port)
        for number in left:
            asked = maker.request(READ, CHANGED)
            name = [*KEYS, None][number % (len(KEYS) + 1)]
            status = await connection.ask(asked, name and f"tw_{name}")
            statuses[asked.operation.id][status] += 1
            if status >= 500:
                wrong.append((status, asked))
        connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(READERS):
            group.create_task(send())
    assert wrong == []
    assert [record.getMessage() for record in caplog.records] == []
    assert sum(sum(each.values()) for each in statuses.values()) == requests
    succeeded = {operation for operation, seen in statuses.items() if any(200 <= status < 300 for status in seen)}
    assert {operation.id for operation in maker.operations} - succeeded == {"killWorker"}, statuses  # of developers
    assert {200, 202, 400, 401, 403, 404, 422} <= {status for seen in statuses.values() for status in seen}
