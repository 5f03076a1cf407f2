"""Readers leave in every way. Nothing of them stays, neither after one of them nor after thousands."""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from socket import socket

import pytest

from tests.support.observed import Observed
from tests.support.rawtail import finish, open_stalled, readers, reset, visit
from tests.support.served import listening
from tests.support.waiting import LOAD_S, wait_until
from turnwire.api.app import create_app
from turnwire.shared.settings import Settings

VISITS = 4_000
AT_ONCE = 50
FREED_S = 0.1  # on a quiet machine
GROWTH_MIB = 5


@pytest.mark.parametrize("leave", [finish, reset])
@pytest.mark.parametrize("reads", [True, False])
async def test_a_reader_that_leaves_is_gone_at_once(service: Observed, leave: Callable[[socket], None], reads: bool):
    turn = await service.turn(f"leaves-{leave.__name__}-{reads}")
    if not reads:  # in this case the server waits inside a send, not for an event
        for _ in range(20):
            await turn.say(*("x" * 50_000 for _ in range(5)))
    before = service.descriptors()
    with ExitStack() as stack:
        connections = [stack.enter_context(open_stalled(service.url, turn.events)) for _ in range(20)]
        await wait_until(lambda: service.clients() == len(connections), "all are there")
        if reads:
            assert all(connection.recv(4096) for connection in connections)
        else:
            await service.quiet()
        start = time.monotonic()
        for connection in connections:
            leave(connection)
        await service.left(
            before, limit_s=FREED_S + LOAD_S
        )  # so soon, because the server noticed it without writing to them
    print(f"20 readers that left were freed in {1000 * (time.monotonic() - start):.0f} ms")


async def test_thousands_of_readers_leave_nothing(service: Observed):
    turn = await service.turn("visited")
    await turn.say("a", "b")
    before = service.descriptors()

    async def visits(count: int) -> None:
        for number in range(count):
            await visit(service.url, turn.events, b"session.run.started", reset if number % 2 else finish)

    async def wave(count: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(visits(count // AT_ONCE))
        await service.left(before)

    await wave(500)  # the first wave makes the process take the memory that it keeps
    settled_mib = service.memory_mib()
    start = time.monotonic()
    await wave(VISITS)
    grown_mib = service.memory_mib() - settled_mib
    print(f"{VISITS} readers came and left in {time.monotonic() - start:.1f} s: {grown_mib:+.1f} MiB")
    assert grown_mib < GROWTH_MIB
    assert (await service.connections()) <= 8 + 1


async def test_a_reader_that_leaves_takes_nothing_from_the_others(service: Observed):
    turn = await service.turn("others")
    async with readers(service.url, *[turn.events] * 20) as following:
        for number, reader in enumerate(following):
            await turn.say(f"word {number} ")
            if number % 2:
                reader.transport.abort()
        await turn.end()
        for reader in following[::2]:
            await reader.ended.wait()
        assert all(reader.complete for reader in following[::2])


async def test_no_task_of_a_reader_is_left(service: Observed):
    """The server runs in this process, where its tasks can be counted."""
    turn = await service.turn("tasks")
    await turn.say(*("x" * 50_000 for _ in range(5)))
    assert service.stack.redis is not None
    app = create_app(Settings(redis_url=service.stack.redis.url))
    async with listening(app, lifespan="on") as port:
        url = f"http://127.0.0.1:{port}"
        await visit(url, turn.events, b"session.run.started", finish)
        hub = app.state.services.hub
        await wait_until(lambda: hub.topics == 0, "the first reader is gone")
        before = asyncio.all_tasks()
        for number in range(100):
            await visit(url, turn.events, b"session.run.started", reset if number % 2 else finish)
        await wait_until(lambda: hub.topics == 0 and asyncio.all_tasks() <= before, "every task has ended")
