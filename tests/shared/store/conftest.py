"""Ways in which a script runs twice, and the parts of a session that most of these tests use."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis

from tests.support.contracts import misfits
from tests.support.failover import Pair
from tests.support.faults import one_lost_reply
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.store.connect import connect
from turnwire.shared.store.scripts import Script

Call = Callable[[], Awaitable[Any]]


@pytest.fixture(autouse=True)
def calls_fit_their_contracts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every script that a test runs gets the keys and the arguments that its contract names."""
    found: list[str] = []
    send = Script._send

    def watched(script: Script, courier: Any, names: Any, args: Any) -> Any:
        found.extend(misfits(script.name, names, args))
        return send(script, courier, names, args)

    monkeypatch.setattr(Script, "_send", watched)
    yield
    assert found == []


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """A primary and its replica, for tests that fail over."""
    async with Pair(tmp_path) as pair:
        yield pair


@pytest.fixture
async def pair_client(pair: Pair) -> AsyncIterator[ArqRedis]:
    """A client of the address that leads to the primary of `pair`."""
    client = connect(pair.url, connections=4)
    yield client
    await client.aclose(close_connection_pool=True)


@pytest.fixture(params=["called twice", "reply lost, caller asks again", "reply lost, the courier asks again"])
def twice(request: pytest.FixtureRequest, redis: ArqRedis) -> Callable[[Call], Awaitable[Any]]:
    """Runs a call so that its script runs twice; returns the second answer."""

    async def run(call: Call) -> Any:
        if request.param == "called twice":
            await call()
        elif request.param == "reply lost, caller asks again":
            with one_lost_reply(redis, resent=False):
                await _refused_as_unavailable(call)
        else:
            with one_lost_reply(redis, resent=True):
                return await call()
        return await call()

    return run


async def _refused_as_unavailable(call: Call) -> None:
    try:
        errors = await call()
    except StoreUnavailable:
        return
    assert all(isinstance(error, StoreUnavailable) for error in errors)  # of a pipeline: one for each call


@pytest.fixture
async def published(redis: ArqRedis) -> AsyncIterator[Callable[[str], Awaitable[Callable[[], Awaitable[bytes]]]]]:
    """Subscribes to a channel; what it returns gives the next message."""
    async with redis.pubsub(ignore_subscribe_messages=False) as pubsub:

        async def subscribe(channel: str) -> Callable[[], Awaitable[bytes]]:
            await pubsub.subscribe(channel)
            assert (await pubsub.get_message(timeout=20))["type"] == "subscribe"

            async def next_message() -> bytes:
                message = await pubsub.get_message(timeout=20)
                assert message is not None
                return message["data"]

            return next_message

        yield subscribe
