"""Requests that no well-behaved client sends, byte by byte: each is refused, or served, and hurts no other answer."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.served import Served, served
from tests.support.waiting import let_pass, wait_until
from turnwire.api.edge import refusal
from turnwire.api.edge.protocol import MAX_HEAD_BYTES, MAX_HELD_BYTES, Protocol

GET = b"GET /%b HTTP/1.1\r\nHost: test\r\n\r\n"
LARGE = MAX_HEAD_BYTES + 16_384
SHORT_S = 0.3


class Hurried(Protocol):
    head_s = SHORT_S
    body_check_s = SHORT_S
    min_body_bytes_per_s = 1000


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with served() as serving:
        yield serving


@pytest.fixture
async def hurried() -> AsyncIterator[Served]:
    async with served(Hurried) as serving:
        yield serving


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def document(answer: bytes) -> dict[str, Any]:
    """The body of the one answer in these bytes."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert b"content-length: %d" % len(body) in head, answer
    found: dict[str, Any] = json.loads(body)
    return found


ENDLESS = {
    "path": (b"GET /", b"a"),
    "header name": (b"GET / HTTP/1.1\r\nHost: test\r\n", b"x"),
    "header value": (b"GET / HTTP/1.1\r\nHost: test\r\nX: ", b"a"),
    "headers": (b"GET / HTTP/1.1\r\nHost: test\r\n", b"X: a\r\n"),
    "empty headers": (b"GET / HTTP/1.1\r\nHost: test\r\n", b"a:\r\n"),
    "blank lines": (b"", b"\r\n"),
    "trailer": (b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: ", b"a"),
    "trailers": (b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: aaaaaa\r\n"),
    "chunk extension": (b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n1;x=", b"a"),
}


@pytest.mark.parametrize("piece", [1000, 300_000], ids=["small pieces", "large pieces"])
@pytest.mark.parametrize("name", ENDLESS)
async def test_what_never_ends_is_refused_before_it_is_large(server: Served, name: str, piece: int):
    opening, filling = ENDLESS[name]
    async with await server.open() as raw:
        raw.send(opening)
        for _ in range(600_000 // piece):
            raw.send(filling * (piece // len(filling)))
        answer = await raw.rest()
    assert (status(answer), document(answer)["code"]) == (431, "head_too_large")
    assert not server.requests


async def test_small_headers_are_refused_before_they_are_many(server: Served):
    """Each costs far more memory than its bytes."""
    for count, expected in ((1000, 200), (3000, 431)):
        request = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n" + b"a:\r\n" * count + b"\r\n"
        assert status(await server.answer(request)) == expected


async def test_the_largest_head_is_served(server: Served):
    value = b"a" * (MAX_HEAD_BYTES - 1000)
    async with await server.open() as raw:
        for _ in range(2):  # each request has a limit of its own
            raw.send(b"GET / HTTP/1.1\r\nHost: test\r\nX: " + value + b"\r\n\r\n")
            await raw.answered("/")
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "Host"),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "Host"),
        (b"GET / HTTP/1.1\r\nHost: test\r\nbad header\r\n\r\n", "malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "malformed"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "malformed"),
        (b"CONNECT somewhere:443 HTTP/1.1\r\nHost: somewhere:443\r\n\r\n", "malformed"),
    ],
    ids=["no host", "two hosts", "two hosts in 1.0", "garbage", "tls", "http2", "connect"],
)
async def test_a_request_that_cannot_be_read_is_refused(server: Served, request_: bytes, text: str):
    answer = await server.answer(request_)
    assert (status(answer), document(answer)["code"]) == (400, "bad_request")
    assert text in document(answer)["detail"]
    assert not server.requests


async def test_a_client_of_version_1_0_needs_no_host(server: Served):
    answer = await server.answer(b"GET /old HTTP/1.0\r\n\r\n")
    assert (status(answer), document(answer)["path"]) == (200, "/old")


OFFERS = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n",
    "unknown": b"Connection: keep-alive, Upgrade\r\nUpgrade: something/7\r\n",
}
BODIES = {
    "length": b"Content-Length: 5\r\n\r\nhello",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("pieces", [1, 1000], ids=["at once", "in pieces"])
async def test_an_offer_to_upgrade_is_declined_and_its_request_served(
    server: Served, offer: str, body: str, pieces: int
):  # fmt: skip
    request = b"POST /asked?a=b HTTP/1.1\r\nHost: test\r\nAccept: x\r\n" + OFFERS[offer] + BODIES[body]
    async with await server.open() as raw:
        size = -(-len(request) // pieces)
        for start in range(0, len(request), size):
            raw.send(request[start : start + size])
            await let_pass(0)
        await raw.answered("/asked")
        raw.send(GET % b"next")  # the connection is used again
        await raw.answered("/next")
    first, second = server.requests
    assert (first["method"], first["path"], first["body"]) == ("POST", "/asked", "hello")
    assert first["headers"]["accept"] == "x"
    assert "upgrade" not in first["headers"]
    assert second["path"] == "/next"


async def test_a_trailer_is_no_header(server: Served):
    request = b"POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n"
    await server.answer(request + b"2\r\nab\r\n0\r\ntraceparent: 00-1-1-00\r\nAuthorization: Bearer x\r\n\r\n")
    (seen,) = server.requests
    assert seen["body"] == "ab"
    assert not seen["headers"].keys() & {"traceparent", "authorization"}


async def test_garbage_after_a_request_puts_nothing_into_its_answer(server: Served):
    async with await server.open() as raw:
        raw.send(GET % b"stream")
        await raw.answered("/stream")
        raw.send(b"\x00garbage\r\n\r\n")
        assert await raw.rest() == b"\r\n"  # the end of the chunk that was sent before
    await wait_until(lambda: server.left == ["/stream"], "the application knows")


async def test_a_broken_body_is_answered_once(server: Served):
    answer = await server.answer(
        b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n"
    )
    assert (status(answer), document(answer)["code"]) == (400, "bad_request")
    await wait_until(lambda: server.left == ["/"], "the application does not answer, too")


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\r\n",
        b"GE",
        b"GET / HTTP/1.1\r\nHost: te",
        b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n" + b"a" * 99_999,
        b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na",
    ],
    ids=["nothing", "blank line", "method", "half a head", "almost a body", "half a chunk"],
)
async def test_a_request_that_does_not_arrive_ends_its_connection(hurried: Served, start: bytes):
    answer = await hurried.answer(start)
    if start.strip():
        assert (status(answer), document(answer)["code"]) == (408, "request_timeout")
    else:
        assert answer == b""  # a browser opens connections in advance, and would show the answer


async def test_a_second_request_that_does_not_arrive_ends_its_connection(hurried: Served):
    async with await hurried.open() as raw:
        raw.send(GET % b"")
        await raw.answered("/")
        await let_pass(2 * SHORT_S)  # an idle connection has time
        raw.send(b"GET / HT")
        assert status(await raw.rest()) == 408


async def test_a_body_that_trickles_is_refused_and_one_that_flows_is_not(hurried: Served):
    head = b"POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 20000\r\n\r\n"
    async with await hurried.open() as slow, await hurried.open() as steady:
        slow.send(head)
        steady.send(head)
        for _ in range(20):  # 20 to 100 times the least rate, as this waits at least 50 ms each time
            slow.send(b"a")
            steady.send(b"a" * 1000)
            await let_pass(SHORT_S / 6)
        assert status(await slow.rest()) == 408
        assert status(await steady.rest()) == 200


async def test_a_body_that_nobody_wants_has_its_time_too(hurried: Served):
    """The answer is complete, the body is not: nothing follows the answer."""
    answer = await hurried.answer(b"POST /unread HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n")
    assert (status(answer), document(answer)["path"]) == (200, "/unread")


async def test_a_client_that_waits_for_its_answer_is_not_hurried(hurried: Served):
    async with await hurried.open() as raw:
        raw.send(GET % b"slow" + GET % b"second" + b"GET /third HT")
        await wait_until(lambda: hurried.requests, "the first is asked")
        await let_pass(3 * SHORT_S)
        hurried.release.set()
        await raw.answered("/second")
        raw.send(b"TP/1.1\r\nHost: test\r\n\r\n")
        await raw.answered("/third")


@pytest.mark.parametrize("size", [1, 900_000])
async def test_a_client_that_leaves_behind_a_second_request_is_noticed(server: Served, size: int):
    async with await server.open() as raw:
        raw.send(b"POST /stream HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size)
        raw.send(GET % b"second" + GET % b"third" + b"GET /fourth")
        await raw.answered("/stream")
    await wait_until(lambda: server.left == ["/stream"], "the application knows")


async def test_requests_that_were_sent_ahead_are_answered_in_order(server: Served):
    body = b"a" * (2 * MAX_HELD_BYTES)
    post = b"POST /%d HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n"
    async with await server.open() as raw:
        raw.send(GET % b"slow")
        await wait_until(lambda: server.requests, "the first is asked")
        for number in range(1, 9):
            raw.send(post % (number, len(body)) + body + GET % b"%d" % (100 + number))
        await let_pass(0.1)
        assert len(server.requests) == 1
        server.release.set()
        await raw.answered("/108")
    paths = [request["path"] for request in server.requests]
    assert paths == ["/slow", *(f"/{number + more}" for number in range(1, 9) for more in (0, 100))]
    assert {len(request["body"]) for request in server.requests} == {0, len(body)}


async def test_refusals_are_logged_with_their_client_but_not_each(
    server: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(refusal, "_refusals", refusal.Seldom(logging.INFO))
    with caplog.at_level(logging.INFO, logger="turnwire.api.edge.refusal"):
        for _ in range(5):
            assert status(await server.answer(b"nonsense\r\n\r\n")) == 400
    (line,) = [record.getMessage() for record in caplog.records if record.name == "turnwire.api.edge.refusal"]
    assert line.startswith("refused a request of 127.0.0.1:")
    assert line.endswith(": malformed HTTP request")
