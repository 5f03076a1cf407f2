"""Clients send requests that never end, while others read their streams. The others notice nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import pytest

from tests.support.observed import Observed
from tests.support.rawtail import LIMIT_S, Reader, address, readers
from tests.support.waiting import let_pass, wait_until

OTHERS: Final = 20
ATTACKERS: Final = 8
LINES: Final = 60
ALMOST_S: Final = 60.0  # bodies for which there is memory are refused after 20 s, because they are too slow
GROWTH_MIB: Final = 20
LATE_S: Final = 1.0  # 250 ms on an idle machine; an attack that works would silence the streams for minutes
CHUNKED: Final = (
    b"POST /v1/sessions/a/turns HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
ENDLESS: Final = {
    "header value": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
    "header name": b"GET / HTTP/1.1\r\nHost: localhost\r\n",
    "trailer": CHUNKED + b"1\r\na\r\n0\r\nX: ",
    "chunk extension": CHUNKED + b"1;x=",
}
ALMOST: Final = (
    b"POST /v1/sessions/a/turns HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1048576\r\n\r\n" + b"a" * 1_048_575
)
PIECE: Final = b"a" * 262_144


async def endless(url: str, opening: bytes) -> bytes:
    """Send for as long as the server accepts it. Returns the server's answer."""
    reader, writer = await asyncio.open_connection(*address(url))
    answer = b""
    async with asyncio.timeout(LIMIT_S):
        with suppress(ConnectionError):
            writer.write(opening)
            while not writer.is_closing():
                writer.write(PIECE)
                await writer.drain()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.001):
                        answer += await reader.read(65_536)
    writer.transport.abort()
    return answer


@asynccontextmanager
async def others(service: Observed, name: str) -> AsyncIterator[list[float]]:
    """Let others read a turn that says something every 50 ms. Yields the delays in s after which all have each line."""
    turn = await service.turn(name)
    delays: list[float] = []

    async def talk(following: list[Reader]) -> None:
        for number in range(LINES):
            before = following[0].received
            start = time.monotonic()
            await turn.say(f"word {number} ")
            size = 80 + len(f"word {number}")  # a lower bound: the line of this event is longer
            await wait_until(lambda: all(one.received >= before + size for one in following), "a line", LIMIT_S)  # noqa: B023
            delays.append(time.monotonic() - start)
            await let_pass(0.05)

    async with readers(service.url, *[turn.events] * OTHERS) as following, asyncio.TaskGroup() as group:
        group.create_task(talk(following))
        yield delays


async def unharmed(
    service: Observed, name: str, attack: Callable[[], Awaitable[None]], growth_mib: float = GROWTH_MIB
) -> None:  # fmt: skip
    """Check that during the attack no line is late, and that the memory hardly grows."""
    before_mib, most_mib = service.memory_mib(), 0.0
    async with others(service, name) as delays:
        attacking = asyncio.ensure_future(attack())
        while not attacking.done():
            most_mib = max(most_mib, service.memory_mib())
            await let_pass(0.01)
        await attacking
    print(f"{name}: the latest line took {max(delays) * 1000:.0f} ms, memory {most_mib - before_mib:+.1f} MiB")
    assert max(delays) < LATE_S
    assert most_mib - before_mib < growth_mib


@pytest.mark.parametrize("what", ENDLESS)
async def test_an_endless_head_is_refused_and_costs_nobody_anything(service: Observed, what: str):
    async def attack() -> None:
        answers = await asyncio.gather(*[endless(service.url, ENDLESS[what]) for _ in range(ATTACKERS)])
        assert all(b" 431 " in answer for answer in answers if answer), answers
        assert any(answers)

    await unharmed(service, f"attack-{what.replace(' ', '-')}", attack)


async def almost(url: str) -> bytes:
    """Send a body without its last byte. Returns the answer."""
    reader, writer = await asyncio.open_connection(*address(url))
    try:
        async with asyncio.timeout(ALMOST_S):
            writer.write(ALMOST)
            await writer.drain()
            return await reader.read(65_536)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_bodies_that_are_almost_complete_are_not_kept_and_end(service: Observed):
    async def attack() -> None:
        answers = await asyncio.gather(*[almost(service.url) for _ in range(60)])
        assert all(b" 408 " in answer for answer in answers if answer), answers
        assert any(answers)

    await unharmed(service, "attack-bodies", attack, growth_mib=35)  # all bodies together have 60 MiB
