"""Calls travel together, land one by one, and a caller that leaves takes nobody with it."""

import asyncio

import pytest
from redis.exceptions import RedisError, ResponseError

from stack.redis_server import RedisServer
from tests.support.waiting import wait_until
from turnwire.shared.errors import UnstorableValue
from turnwire.shared.store.connect import connect
from turnwire.shared.store.courier import MAX_CALLS, Courier


async def test_every_caller_gets_its_own_reply_in_order(redis):
    courier = Courier(redis, 5)
    flights = [courier.send("ECHO", str(n)) for n in range(3 * MAX_CALLS + 1)]
    assert await asyncio.gather(*flights) == [str(n).encode() for n in range(3 * MAX_CALLS + 1)]


async def test_a_burst_needs_one_connection(redis_url):
    client = connect(redis_url, connections=8)
    courier = Courier(client, 5)
    await asyncio.gather(*(courier.send("ECHO", str(n)) for n in range(1000)))
    assert len(client.connection_pool._available_connections) == 1
    await client.aclose(close_connection_pool=True)


async def test_a_refusal_hits_only_its_own_caller(redis):
    courier = Courier(redis, 5)
    flights = [courier.send("ECHO", "a"), courier.send("NO SUCH COMMAND"), courier.send("ECHO", "b")]
    first, second, third = await asyncio.gather(*flights, return_exceptions=True)
    assert (first, third) == (b"a", b"b")
    assert isinstance(second, ResponseError)


async def test_a_caller_that_is_cancelled_disturbs_nobody(redis):
    courier = Courier(redis, 5)
    before = {client["id"] for client in await redis.client_list()}
    leaving = [asyncio.ensure_future(courier.send("ECHO", "x")) for _ in range(50)]
    staying = courier.send("ECHO", "y")
    await asyncio.sleep(0)
    for flight in leaving:
        flight.cancel()
    assert await staying == b"y"
    assert await courier.send("ECHO", "z") == b"z"
    assert {client["id"] for client in await redis.client_list()} >= before


async def test_a_redis_that_hangs_answers_everybody_at_the_same_time(tmp_path):
    """Those who queued behind a round trip that timed out do not wait for a timeout of their own."""
    with RedisServer(tmp_path) as server:
        client = connect(server.url, connections=1)
        courier = Courier(client, 0.3)
        await courier.send("PING")
        server.pause()
        try:
            flights = [courier.send("PING") for _ in range(3 * MAX_CALLS)]
            outcomes = await asyncio.gather(*flights, return_exceptions=True)
            assert all(isinstance(outcome, TimeoutError) for outcome in outcomes)
            assert len({id(outcome) for outcome in outcomes}) == 1  # one timeout told all of them
        finally:
            server.resume()
        assert await courier.send("PING") in {b"PONG", True}
        await client.aclose(close_connection_pool=True)


async def test_a_lost_connection_is_an_error_of_everybody_on_it_and_not_of_the_next(tmp_path):
    with RedisServer(tmp_path) as server:
        client = connect(server.url, connections=1)
        courier = Courier(client, 5)
        await courier.send("PING")
        server.kill()
        with pytest.raises((RedisError, OSError)):
            await courier.send("PING")
        server.start()
        assert await courier.send("ECHO", "back") == b"back"
        await client.aclose(close_connection_pool=True)


@pytest.mark.parametrize("value", ["half \ud83d", object(), None, 10**5000], ids=lambda value: type(value).__name__)
async def test_a_value_that_cannot_be_sent_is_an_error_of_its_own_call_alone(redis, value):
    courier = Courier(redis, 5)
    flights = [courier.send("ECHO", "a"), courier.send("ECHO", value), courier.send("ECHO", "b")]
    first, second, third = await asyncio.gather(*flights, return_exceptions=True)
    assert (first, third) == (b"a", b"b")
    assert isinstance(second, UnstorableValue)


async def test_a_defect_in_a_round_trip_is_nobodys_cancellation(redis, monkeypatch):
    courier = Courier(redis, 5)

    async def defect(*_: object) -> None:
        raise AttributeError("a defect")

    with monkeypatch.context() as patched:
        patched.setattr(courier, "_round_trip", defect)
        flights = [courier.send("ECHO", str(n)) for n in range(MAX_CALLS + 1)]
        outcomes = await asyncio.gather(*flights, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {AttributeError}
    assert await courier.send("ECHO", "z") == b"z"


async def test_a_reply_that_nobody_read_is_not_the_reply_to_the_next_command(redis_url):
    client = connect(redis_url, connections=1)
    courier = Courier(client, 5)
    assert await courier.send("ECHO", "a") == b"a"
    used = await client.connection_pool.get_connection()
    await used.send_command("ECHO", "unread")
    await wait_until(lambda: not used.is_at_rest, "something arrived on the connection")
    await client.connection_pool.release(used)
    assert await courier.send("ECHO", "b") == b"b"
    await client.aclose(close_connection_pool=True)


async def test_a_reply_that_came_together_with_another_is_not_the_reply_to_the_next_command(redis_url):
    client = connect(redis_url, connections=1)
    courier = Courier(client, 5)
    used = await client.connection_pool.get_connection()
    await used.send_packed_command(used.pack_commands([("ECHO", "read"), ("ECHO", "unread")]))
    await wait_until(lambda: b"unread" in used._reader._buffer, "both replies arrived")
    assert await used.read_response() == b"read"
    await client.connection_pool.release(used)
    assert await courier.send("ECHO", "b") == b"b"
    await client.aclose(close_connection_pool=True)


async def test_a_connection_that_redis_closed_is_made_anew_before_a_command_that_must_not_be_repeated(redis, redis_url):
    client = connect(redis_url, connections=1)
    courier = Courier(client, 5)
    number = await courier.send("CLIENT", "ID")
    used = await client.connection_pool.get_connection()
    await client.connection_pool.release(used)
    await redis.client_kill_filter(_id=number)
    await wait_until(lambda: not used.is_at_rest, "something arrived on the connection")
    assert await courier.send("ECHO", "b", repeat=False) == b"b"
    await client.aclose(close_connection_pool=True)
