"""Bodies that arrive side by side: how much memory they may take, and which of them is refused."""

import asyncio

import pytest
from starlette.types import Message

from tests.support.waiting import wait_until
from turnwire.api.edge.arriving import ARRIVING_BYTES, LARGEST, Bodies
from turnwire.api.edge.problems import RequestTimeout

PART = ARRIVING_BYTES // 8


class Upload:
    """A client that sends a part each time it is told to, and the task that reads it."""

    def __init__(self, bodies: Bodies, max_bytes: int = 1) -> None:
        self.parts: asyncio.Queue[int] = asyncio.Queue()
        self.received = 0
        self.task = asyncio.create_task(self._read(bodies, max_bytes))

    async def _read(self, bodies: Bodies, max_bytes: int) -> None:
        with bodies.arriving(max_bytes) as body:
            while (await body.receive(self._receive))["more_body"]:
                self.received = body.size

    async def _receive(self) -> Message:
        size = await self.parts.get()
        return {"type": "http.request", "body": b"a" * size, "more_body": size > 0}

    async def send(self, size: int) -> None:
        before = self.received
        await self.parts.put(size)
        await wait_until(lambda: self.task.done() or self.received != before or size == 0, "it is read")


async def test_the_oldest_of_too_many_bodies_is_refused_and_the_others_go_on():
    bodies = Bodies()
    uploads = [Upload(bodies) for _ in range(9)]
    for upload in uploads:
        await upload.send(PART)
        assert bodies.bytes <= ARRIVING_BYTES
    with pytest.raises(RequestTimeout):
        await uploads[0].task
    for upload in uploads[1:]:
        await upload.send(0)
        await upload.task
    assert bodies.bytes == 0


async def test_a_body_that_is_too_much_alone_is_refused_itself():
    bodies = Bodies()
    upload = Upload(bodies)
    await upload.send(ARRIVING_BYTES + 1)
    with pytest.raises(RequestTimeout):
        await upload.task
    assert bodies.bytes == 0


async def test_a_few_of_the_largest_bodies_always_fit():
    bodies = Bodies()
    uploads = [Upload(bodies, max_bytes=ARRIVING_BYTES) for _ in range(LARGEST)]
    for upload in uploads:
        await upload.send(ARRIVING_BYTES)
        await upload.send(0)
        await upload.task


async def test_a_client_that_leaves_takes_up_nothing():
    bodies = Bodies()
    upload = Upload(bodies)
    await upload.send(PART)
    upload.task.cancel()
    await asyncio.gather(upload.task, return_exceptions=True)
    assert bodies.bytes == 0


async def test_a_refused_body_frees_its_memory_even_while_somebody_refers_to_it():
    bodies = Bodies(limit_bytes=2 * PART)
    with bodies.arriving(1) as oldest, bodies.arriving(1) as second:
        oldest.add({"body": b"a" * PART})
        second.add({"body": b"b" * PART})
        assert len(oldest.whole()) == PART
        second.add({"body": b"b"})
        assert oldest.whole() == b""
        with pytest.raises(RequestTimeout):
            oldest.add({"body": b"a"})
        assert len(second.whole()) == PART + 1
