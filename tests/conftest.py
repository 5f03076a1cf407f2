"""The fixtures of most tests: a real Redis of our own, which is empty before each test and checked after it."""

import gc
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from stack.process import Service, launched
from stack.redis_server import RedisServer
from tests.support import certificates, later
from tests.support.forked_runs import pytest_addoption, pytest_runtestloop  # noqa: F401 - hooks of pytest
from tests.support.keyleak import find_leaks
from tests.support.nursery import Nursery
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore

# The same examples each time, and none fails because the machine is slow.
hypothesis_settings.register_profile(
    "turnwire", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("turnwire")
certificates.keep()

HERE = Path(__file__).parent
# Those whose files take longest: in parallel processes they start first, so that none is left alone at the end.
LONG = ["model", "faults", "chaos", "packaging", "stack", "benchmarks", "streams", "testing", "docs", "worker/backends"]
LONG += ["clients", "examples", "access", "page", "protection", "traces"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In parallel processes, the longest come first. In a single one, quick tests stay first."""
    if config.getoption("processes") > 1 or hasattr(config, "workerinput"):
        rank = {HERE / name: number for number, name in enumerate(LONG)}
        items.sort(key=lambda item: min(rank.get(parent, len(LONG)) for parent in item.path.parents))
    if config.getoption("processes") > 1 and not config.getoption("collectonly"):
        later.import_now()
        if sys.platform == "linux":
            Nursery.share()


def pytest_sessionfinish() -> None:
    Nursery.unshare()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the collector of cycles: it would look again and again at thousands of tests, which all stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def nursery() -> Iterator[None]:
    """Start workers and APIs by forking, on Linux."""
    if sys.platform != "linux":
        yield
        return
    nursery = Nursery()
    Service.launch = nursery.launch
    yield
    Service.launch = launched
    nursery.close()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Shared by all tests: who pauses or kills a server starts one of their own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[ArqRedis]:
    """A client of an empty server. After the test no key may be left that nobody owns or that stays for ever."""
    client = connect(redis_url, connections=8)
    await client.flushall()
    try:
        yield client
        leaks = await find_leaks(client)
        assert not leaks, "keys leaked:\n" + "\n".join(leaks)
    finally:
        await client.aclose(close_connection_pool=True)  # redis-py leaves a pool open that it was given


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Short times; the lease is long enough for a slow machine, so tests delete it instead of waiting for its end."""
    return Settings(
        redis_url=redis_url, lease_ms=3000, poll_s=0.2, drain_s=2.0, turn_timeout_s=20.0, retention_s=60, max_attempts=3
    )


@pytest.fixture
def store(redis: ArqRedis, settings: Settings) -> TurnStore:
    return TurnStore(redis, settings)


@pytest.fixture
def queue(redis: ArqRedis, settings: Settings) -> TurnQueue:
    return TurnQueue(redis, settings)
