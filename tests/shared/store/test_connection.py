"""A server that is not the primary is left by every connection, whatever the command was that met it."""

import asyncio

import pytest
import uvloop
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from stack.redis_server import RedisServer
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from turnwire.shared.store import connection, unreachable
from turnwire.shared.store.connect import connect, connect_listener, disconnect
from turnwire.shared.store.connection import WrongServer
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.scripts import source


@pytest.fixture
def server(tmp_path):
    with RedisServer(tmp_path / "redis", port=0) as server:
        yield server


@pytest.fixture
async def operator(server):
    """A connection that stays, whatever the role of the server is."""
    async with Redis.from_url(server.url, protocol=2) as client:
        yield client


@pytest.fixture
async def client(server):
    client = connect(server.url, connections=4)
    yield client
    await client.aclose(close_connection_pool=True)


@pytest.fixture
async def listener(server):
    """A subscription; it writes nothing, so it hears nothing of the role of its server."""
    client = connect_listener(server.url)
    async with client.pubsub() as pubsub:
        await pubsub.subscribe("news")
        await pubsub.get_message(timeout=5)
        yield pubsub
    await client.aclose(close_connection_pool=True)


async def become_replica(operator):
    await operator.execute_command("REPLICAOF", "127.0.0.1", 1)


async def open_connections(operator):
    me = await operator.client_id()
    return [entry for entry in await operator.client_list() if int(entry["id"]) != me]


async def write(client):
    await client.set("key", 1)


async def write_in_a_script(client):
    await Courier(client, 5).send("EVAL", "return redis.call('SET', KEYS[1], 1)", 1, "key")


async def write_in_an_old_script(client):
    """Run a script that returns the error as Redis 6.2 would have worded it."""
    error = "redis.error_reply('ERR Error running script: @user_script:1: -READONLY You cannot write')"
    await Courier(client, 5).send("EVAL", f"return {error}", 0)


async def blocking_pop(client):
    await client.blpop(["list"], timeout=1)


@pytest.mark.parametrize("command", [write, write_in_a_script, write_in_an_old_script, blocking_pop])
async def test_a_refused_write_closes_every_connection_to_the_server(client, listener, operator, command):
    await client.ping()
    await become_replica(operator)
    with pytest.raises(WrongServer):
        await command(client)
    await wait_until(lambda: no_connection(operator), "no connection is left")
    with pytest.raises(RedisConnectionError):
        await listener.get_message(timeout=5)


async def no_connection(operator):
    return not await open_connections(operator)


async def test_a_replica_is_left_by_who_only_reads(client, listener, operator, monkeypatch):
    monkeypatch.setattr(connection, "ROLE_AGE_S", 0)
    assert await client.get("key") is None
    await become_replica(operator)
    with pytest.raises(WrongServer):
        await client.get("key")
    await wait_until(lambda: no_connection(operator), "no connection is left")


async def test_the_role_is_not_asked_for_at_every_command(client, operator):
    await client.ping()
    await operator.config_resetstat()
    for _ in range(20):
        await client.ping()
    stats = await operator.info("commandstats")
    assert stats["cmdstat_ping"]["calls"] == 20
    assert "cmdstat_info" not in stats


async def test_a_replica_is_no_server_to_connect_to(client, operator):
    await become_replica(operator)
    with pytest.raises(WrongServer):
        await client.get("key")
    await operator.execute_command("REPLICAOF", "NO", "ONE")
    assert await client.get("key") is None


async def test_a_replica_without_its_primary_is_left(client, listener, operator):
    await client.ping()
    await operator.config_set("replica-serve-stale-data", "no")
    await become_replica(operator)
    with pytest.raises(WrongServer):
        await client.get("key")
    await wait_until(lambda: no_connection(operator), "no connection is left")


async def test_a_courier_goes_on_with_the_next_primary(server, operator, tmp_path):
    with RedisServer(tmp_path / "next", port=0) as following:
        async with Proxy(server.url) as proxy:
            client = connect(proxy.url, connections=4)
            courier = Courier(client, 5)
            await courier.send("SET", "key", 1)
            await become_replica(operator)
            proxy.lead_to(following.url)
            await courier.send("SET", "key", 2)
            await client.aclose(close_connection_pool=True)
        async with Redis.from_url(following.url) as check:
            assert await check.get("key") == b"2"


async def test_a_user_who_may_not_ask_for_the_role_is_served(server, operator):
    await operator.execute_command("ACL", "SETUSER", "plain", "on", "nopass", "~*", "+@all", "-info")
    client = connect(server.url.replace("//", "//plain:x@"), connections=1)
    await client.set("key", 1)
    await become_replica(operator)
    with pytest.raises(WrongServer):
        await client.set("key", 1)
    await client.aclose(close_connection_pool=True)


async def send_for_ever(held):
    while True:
        await held.send_command("PING")
        await asyncio.sleep(0)


def test_a_reset_is_an_error_of_the_connection(server):
    """Regression: uvloop raises RuntimeError at a write to a connection that was reset, and that ended side tasks."""
    script = source("append")

    async def reset() -> None:
        async with Proxy(server.url) as proxy:
            client = connect(proxy.url, connections=1)
            courier = Courier(client, 5)
            for _ in range(20):
                await courier.send("SCRIPT", "LOAD", script)
                proxy.reset()
                await asyncio.sleep(0)
                await courier.send("GET", "key")
            held = client.connection_pool.make_connection()
            await held.connect()
            proxy.reset()
            with pytest.raises(RedisConnectionError):
                await send_for_ever(held)
            await client.aclose(close_connection_pool=True)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(reset())


async def test_the_log_says_once_why_there_is_no_connection(server, operator, caplog, monkeypatch):
    monkeypatch.setattr(unreachable, "_said_s", {})
    client = connect(f"{server.url}?username=somebody&password=hunter2", connections=2)
    for _ in range(3):
        with pytest.raises(RedisConnectionError):
            await client.ping()
    await client.aclose(close_connection_pool=True)
    [line] = [record.getMessage() for record in caplog.records if record.name == unreachable.__name__]
    assert line == "no connection to Redis: invalid username-password pair or user is disabled."
    server.stop()
    with pytest.raises(RedisConnectionError):
        await connect(server.url, connections=1).ping()
    assert "Connect call failed" in caplog.records[-1].getMessage()


async def test_whoever_waits_for_a_connection_gets_it_when_it_is_free(redis_url: str):
    redis = connect(redis_url, connections=1)
    pool = redis.connection_pool
    try:
        first = await pool.get_connection()
        waiting = [asyncio.create_task(pool.get_connection()) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        await pool.release(first)
        assert await asyncio.wait_for(waiting[1], 5) is first
        await pool.release(first)
        assert await pool.get_connection() is first
        await pool.release(first)
    finally:
        await disconnect(redis)
