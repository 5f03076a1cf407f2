"""Requests whose length two servers could read in two ways: none of them is served, nor what is hidden behind them.

A proxy that reads another length than the API would take a part of a body for the next request, or the other way round.
"""

from collections.abc import AsyncIterator

import pytest

from tests.support.served import Served, served

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CHUNKS = b"0\r\n\r\n" + HIDDEN
HEADERS = {
    "both lengths": (b"Content-Length: 5\r\nTransfer-Encoding: chunked", CHUNKS),
    "both lengths, the other way": (b"Transfer-Encoding: chunked\r\nContent-Length: 5", CHUNKS),
    "two lengths": (b"Content-Length: 0\r\nContent-Length: 61", HIDDEN),
    "the same length twice": (b"Content-Length: 0\r\nContent-Length: 0", HIDDEN),
    "a list of lengths": (b"Content-Length: 0, 0", HIDDEN),
    "a signed length": (b"Content-Length: +0", HIDDEN),
    "a negative length": (b"Content-Length: -1", HIDDEN),
    "a hexadecimal length": (b"Content-Length: 0x0", HIDDEN),
    "a length that is too large to be a number": (b"Content-Length: 1" + b"0" * 30, HIDDEN),
    "another transfer coding": (b"Transfer-Encoding: xchunked", CHUNKS),
    "a coding after chunked": (b"Transfer-Encoding: chunked, identity", CHUNKS),
    "chunked twice": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", CHUNKS),
    "a vertical tab before chunked": (b"Transfer-Encoding: \x0bchunked", CHUNKS),
    "a space before the colon": (b"Transfer-Encoding : chunked", CHUNKS),
    "a folded header": (b"X: a\r\n Transfer-Encoding: chunked", HIDDEN),
    "a folded length": (b"Content-Length:\r\n 0", HIDDEN),
    "a NUL": (b"X: a\x00b", HIDDEN),
    "a line that is no header": (b"nonsense", HIDDEN),
    "a bare CR": (b"X: a\rTransfer-Encoding: chunked", HIDDEN),
}
BODIES = {
    "no size": b"\r\n" + CHUNKS,
    "a signed size": b"+0\r\n\r\n" + HIDDEN,
    "a size with 0x": b"0x0\r\n\r\n" + HIDDEN,
    "a size with a space": b"0 1\r\na\r\n" + CHUNKS,
    "a size that is too large": b"f" * 20 + b"\r\n" + HIDDEN,
    "more than the size": b"1\r\nab\r\n" + CHUNKS,
    "a bare LF behind the size": b"1\na\r\n" + CHUNKS,
    "a bare LF behind the chunk": b"1\r\na\n" + CHUNKS,
}


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with served() as serving:
        yield serving


async def refused(server: Served, request: bytes) -> None:
    answer = await server.answer(request)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()
    assert [seen["path"] for seen in server.requests if seen["path"] == "/hidden"] == []


@pytest.mark.parametrize("what", HEADERS)
async def test_a_head_that_two_servers_could_read_differently_is_refused(server: Served, what: str):
    header, rest = HEADERS[what]
    await refused(server, b"POST /first HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n\r\n" + rest)


@pytest.mark.parametrize("what", BODIES)
async def test_a_chunk_that_two_servers_could_read_differently_is_refused(server: Served, what: str):
    head = b"POST /first HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    await refused(server, head + BODIES[what])
