"""A TurnRunner in this process, its appender running; and the turn that it runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.support.turns import KEY, OTHER_WORKER, WORKER, request
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt import finish
from turnwire.worker.attempt.run import TurnRunner
from turnwire.worker.products import Products


@pytest.fixture(autouse=True)
def no_pause_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finish, "RETRY_S", 0.0)


@pytest.fixture
async def runner_of(store: TurnStore, queue: TurnQueue) -> AsyncIterator[Callable[..., TurnRunner]]:
    """Makes runners whose appender runs; the products by project, or one for all."""
    tasks = []

    def make(hooks: Any, worker: str = WORKER, store: TurnStore = store) -> TurnRunner:
        products = Products(hooks if isinstance(hooks, dict) else {None: hooks})
        runner = TurnRunner(store, queue, products, worker)
        tasks.append(asyncio.create_task(runner.appender.run()))
        return runner

    yield make
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def twice(store, runner_of):
    """Runs a turn, which may fail, asks it again and runs it again. Returns both records."""

    async def run(agent, second=None):
        await store.submit(KEY, request())
        await runner_of(agent).run(KEY.run_id)
        first = await store.record(KEY)
        await store.submit(KEY, request())
        await runner_of(second or agent, OTHER_WORKER).run(KEY.run_id)
        return first, await store.record(KEY)

    return run
