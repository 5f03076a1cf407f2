"""A hub on the test's Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from arq.connections import ArqRedis

from tests.support.following import Writer, no_channels
from tests.support.turns import KEY
from tests.support.waiting import wait_until
from turnwire.api.following.hub import Hub
from turnwire.shared.store.connect import connect_listener
from turnwire.shared.store.turns import TurnStore

HubMaker = Callable[..., AbstractAsyncContextManager[Hub]]


@pytest.fixture
async def writer(store: TurnStore) -> Writer:
    """Yield a log writer for a turn that was submitted."""
    return await Writer(store, KEY).submit()


@pytest.fixture
def make_hub(redis: ArqRedis, redis_url: str, store: TurnStore) -> HubMaker:
    """A hub; when it has closed, nothing of it may be left: no topic, no task, no subscription."""

    @asynccontextmanager
    async def make(**options: Any) -> AsyncIterator[Hub]:
        before = asyncio.all_tasks()
        async with Hub(connect_listener(redis_url), store, **options) as hub:
            yield hub
            assert hub.topics == 0
            await wait_until(lambda: no_channels(redis), "every channel unsubscribed")
        assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()

    return make


@pytest.fixture
async def hub(make_hub: HubMaker) -> AsyncIterator[Hub]:
    async with make_hub() as hub:
        yield hub
