"""Which readers of a turn may share a read."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock

import pytest

from tests.support.published import publication
from tests.support.turns import KEY, delta
from tests.support.waiting import wait_until
from turnwire.api.following import topic as topics
from turnwire.api.following.tail import Tail
from turnwire.api.following.topic import Topic
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.events import Cursor, Entry


class SlowStore:
    """Answers a read when it is told to."""

    def __init__(self) -> None:
        self.reads: list[tuple[Cursor | None, asyncio.Future[list[Entry]]]] = []

    async def read(self, _: object, after: Cursor | None, __: int) -> list[Entry]:
        self.reads.append((after, asyncio.get_running_loop().create_future()))
        return await self.reads[-1][1]


@pytest.fixture
async def group() -> AsyncIterator[asyncio.TaskGroup]:
    async with asyncio.TaskGroup() as group:
        yield group


@pytest.fixture
def slow_store() -> Any:
    return SlowStore()


@pytest.fixture
async def topic(slow_store: Any, group: asyncio.TaskGroup) -> Topic:
    return Topic(KEY, slow_store, group, 3600.0)


def join(topic: Topic, after: Cursor | None = None, *, is_behind: bool = True) -> Tail:
    tail = Tail(after, ask=topic.ask, buffer_bytes=1000, idle_s=5.0, is_behind=is_behind)
    topic.readers.add(tail)
    return tail


async def test_two_at_the_same_place_share_a_read(topic: Topic, slow_store: SlowStore):
    batches = [asyncio.ensure_future(anext(join(topic))) for _ in range(2)]
    await wait_until(lambda: slow_store.reads, "the read")
    slow_store.reads[0][1].set_result([Entry(b"1-0", delta("a"))])
    assert [len(await batch) for batch in batches] == [1, 1]
    assert len(slow_store.reads) == 1


async def test_a_read_older_than_a_publication_is_not_shared(topic: Topic, slow_store: SlowStore):
    """The second reader never got the publication, and the first one's read may be older than it."""
    first = asyncio.ensure_future(anext(join(topic)))
    await wait_until(lambda: slow_store.reads, "the first read")
    topic.arrived(publication(1, 1, delta("b")))
    second = asyncio.ensure_future(anext(join(topic)))
    await wait_until(lambda: len(slow_store.reads) == 2, "a read of its own")
    slow_store.reads[0][1].set_result([Entry(b"1-0", delta("a"))])
    slow_store.reads[1][1].set_result([Entry(b"1-0", delta("a")), Entry(b"1-1", delta("b"))])
    assert len(await first) == 1
    assert len(await second) == 2


async def test_a_new_turn_is_read_soon_if_its_subscription_does_not_begin(
    topic: Topic, slow_store: SlowStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(topics, "FIRST_EVENT_S", 0.01)
    tail = join(topic, is_behind=False)
    topic.expect_first(tail)
    batch = asyncio.ensure_future(anext(tail))
    await wait_until(lambda: slow_store.reads, "the read")
    topic.subscribed()  # what was written after that read is in no message
    slow_store.reads[0][1].set_result([])
    await wait_until(lambda: len(slow_store.reads) == 2, "another one")
    slow_store.reads[1][1].set_result([Entry(b"1-0", delta("a"))])
    assert len(await batch) == 1


async def test_a_store_that_does_not_answer_is_asked_again(topic: Topic, slow_store: SlowStore):
    batch = asyncio.ensure_future(anext(join(topic)))
    await wait_until(lambda: slow_store.reads, "the first read")
    slow_store.reads[0][1].set_exception(StoreUnavailable("the store does not answer"))
    await wait_until(lambda: len(slow_store.reads) == 2, "the second read")
    slow_store.reads[1][1].set_result([Entry(b"1-0", delta("a"))])
    assert len(await batch) == 1


async def test_a_defect_ends_only_the_readers_of_this_turn(
    topic: Topic, slow_store: SlowStore, caplog: pytest.LogCaptureFixture
):
    batch = asyncio.ensure_future(anext(join(topic)))
    await wait_until(lambda: slow_store.reads, "the read")
    slow_store.reads[0][1].set_exception(ValueError("not a log"))
    with pytest.raises(ValueError, match="not a log"):
        await batch
    assert "cannot be read" in caplog.text


async def test_a_defect_in_a_check_of_a_silent_turn_ends_only_the_readers_of_this_turn(
    slow_store: Any, group: asyncio.TaskGroup, caplog: pytest.LogCaptureFixture
):
    slow_store.standing = AsyncMock(side_effect=ValueError("not a state"))
    topic = Topic(KEY, slow_store, group, 0.01)
    batch = asyncio.ensure_future(anext(join(topic)))
    with pytest.raises(ValueError, match="not a state"):
        await batch
    assert "cannot be read" in caplog.text
    topic.close()


async def test_closing_cancels_its_reads(topic: Topic, slow_store: SlowStore):
    batch = asyncio.ensure_future(anext(join(topic)))
    await wait_until(lambda: slow_store.reads, "the read")
    topic.close()
    await wait_until(slow_store.reads[0][1].cancelled, "the read is cancelled")
    batch.cancel()
