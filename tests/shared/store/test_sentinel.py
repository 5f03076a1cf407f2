"""Whom a client believes when Sentinels name a primary, and what becomes of its connections.

The Sentinels here only answer and publish; what real ones do is tests/faults/test_sentinel.py.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from stack.redis_server import RedisServer
from stack.sentinels import port_of
from tests.support.waiting import wait_until
from turnwire.shared.store import sentinel
from turnwire.shared.store.connect import connect


class FakeSentinel:
    """Says that the primary is at `port`."""

    def __init__(self) -> None:
        self.port = 0
        self.epoch = 1
        self.own_port = 0
        self.asked = 0
        self.listeners: list[asyncio.StreamWriter] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.own_port)
        self.own_port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self.listeners.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while line := await reader.readline():
            words = []
            for _ in range(int(line[1:])):
                length = int((await reader.readline())[1:])
                words.append((await reader.readexactly(length + 2))[:-2])
            if words[0].upper() == b"SUBSCRIBE":
                self.listeners.append(writer)
                writer.write(b"*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n")
            elif words[0].upper() == b"SENTINEL":
                self.asked += 1
                told = ["ip", "127.0.0.1", "port", str(self.port), "config-epoch", str(self.epoch)]
                parts = "".join(f"${len(text)}\r\n{text}\r\n" for text in told)
                writer.write(f"*{len(told)}\r\n{parts}".encode())
            else:
                writer.write(b"+OK\r\n")

    def name(self, port: int, epoch: int) -> None:
        self.port, self.epoch = port, epoch

    def publish(self) -> None:
        for writer in self.listeners:
            writer.write(b"*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$4\r\nmain\r\n")


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Two servers; both say that they are primaries, as it is for a while after a failover that was ordered."""
    with (
        RedisServer(tmp_path_factory.mktemp("first"), port=0) as first,
        RedisServer(tmp_path_factory.mktemp("second"), port=0) as second,
    ):
        yield port_of(first), port_of(second)


@pytest.fixture
async def sentinels(servers) -> AsyncIterator[list[FakeSentinel]]:
    fakes = [FakeSentinel() for _ in range(2)]
    for fake in fakes:
        fake.name(servers[0], 1)
        await fake.start()
    yield fakes
    for fake in fakes:
        await fake.stop()


@pytest.fixture
async def client(sentinels):
    hosts = ",".join(f"127.0.0.1:{fake.own_port}" for fake in sentinels)
    client = connect(f"redis+sentinel://{hosts}/main", connections=4)
    yield client
    await client.aclose(close_connection_pool=True)


async def port_of_server(client) -> int:
    return int((await client.config_get("port"))["port"])


async def test_a_client_is_led_to_the_primary_that_is_named(client, servers):
    assert await port_of_server(client) == servers[0]


async def test_of_two_answers_the_newer_one_counts(client, servers, sentinels):
    sentinels[1].name(servers[1], 2)
    assert await port_of_server(client) == servers[1]


async def test_one_sentinel_is_enough(client, servers, sentinels):
    await sentinels[0].stop()
    assert await port_of_server(client) == servers[0]


async def test_without_any_sentinel_there_is_an_error(client, sentinels):
    for fake in sentinels:
        await fake.stop()
    with pytest.raises(RedisConnectionError, match="no Sentinel names a primary of 'main'"):
        await client.ping()


async def moved(client, port: int) -> bool:
    try:
        return await port_of_server(client) == port
    except RedisConnectionError:  # it was just closed
        return False


async def test_a_message_closes_the_connections_to_the_old_address(client, servers, sentinels, monkeypatch):
    monkeypatch.setattr(sentinel, "POLL_S", 60.0)
    assert await port_of_server(client) == servers[0]
    await wait_until(lambda: any(fake.listeners for fake in sentinels), "the watch")
    for fake in sentinels:
        fake.name(servers[1], 2)
        fake.publish()
    await wait_until(lambda: moved(client, servers[1]), "the new primary")


async def test_a_message_that_is_lost_only_delays(client, servers, sentinels, monkeypatch):
    monkeypatch.setattr(sentinel, "POLL_S", 0.05)
    assert await port_of_server(client) == servers[0]
    for fake in sentinels:
        fake.name(servers[1], 2)
    await wait_until(lambda: moved(client, servers[1]), "the new primary")


async def test_a_sentinel_that_has_not_heard_of_the_failover_leads_nobody_back(client, servers, sentinels, monkeypatch):
    monkeypatch.setattr(sentinel, "POLL_S", 0.02)
    monkeypatch.setattr(sentinel, "PAUSE_S", 0.0)
    for fake in sentinels:
        fake.name(servers[1], 2)
    assert await port_of_server(client) == servers[1]
    stale, fresh = sentinels
    stale.name(servers[0], 1)
    await fresh.stop()  # so the watch asks the other one
    asked = stale.asked
    await wait_until(lambda: stale.asked > asked + 5, "the stale one to be asked")
    assert await port_of_server(client) == servers[1]


async def test_sentinels_that_were_set_up_anew_are_believed_when_all_agree(servers, sentinels, client):
    for fake in sentinels:
        fake.name(1, 7)  # nobody listens there
    with pytest.raises(RedisConnectionError):
        await client.ping()
    for fake in sentinels:
        fake.name(servers[0], 1)
    assert await port_of_server(client) == servers[0]


async def test_nobody_is_asked_once_all_connections_are_closed(client, servers, sentinels, monkeypatch):
    monkeypatch.setattr(sentinel, "POLL_S", 0.02)
    await port_of_server(client)
    await client.aclose(close_connection_pool=True)

    def over() -> bool:
        return not any("watch Sentinels" in task.get_name() for task in asyncio.all_tasks())

    await wait_until(over, "the end of the watch")
