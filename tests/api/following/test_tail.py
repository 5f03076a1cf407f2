"""A reader's state without Redis: what it accepts, and when it reads the log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.published import publication
from tests.support.turns import delta
from tests.support.waiting import let_pass
from turnwire.api.following.publication import Publication
from turnwire.api.following.tail import Page, Tail
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.events import Cursor, Entry

END = b'{"type":"session.run.completed","data":{}}'


def page(*ids: str, more: bool = False, over: bool = False) -> Page:
    return Page([Entry(entry_id.encode(), delta("x")) for entry_id in ids], more, over)


class Asked:
    """A tail whose wish to read the log is only counted."""

    def __init__(self, after: Cursor | None = None, *, buffer_bytes: int = 10_000, is_behind: bool = True) -> None:
        self.cursors: list[Cursor | None] = []
        self.checks: list[bool] = []
        self.tail = Tail(after, ask=self._ask, buffer_bytes=buffer_bytes, idle_s=0.01, is_behind=is_behind)

    def _ask(self, tail: Tail, check_over: bool) -> None:
        self.cursors.append(tail.cursor)
        self.checks.append(check_over)

    async def next(self) -> list[str]:
        return [entry.id.decode() for entry in await anext(self.tail)]

    async def live(self, *ids: str) -> None:
        """Bring it to the end of a log of these ids."""
        assert await self.next() == []
        self.tail.land(page(*ids))
        assert await self.next() == list(ids)
        assert await self.next() == []
        self.cursors.clear()


async def test_it_reads_the_log_before_it_takes_a_publication():
    asked = Asked()
    asked.tail.offer(publication(1, 2, delta("c")))
    assert await asked.next() == []
    assert asked.cursors == [None]
    asked.tail.land(page("1-0", "1-1"))
    assert await asked.next() == ["1-0", "1-1"]
    assert await asked.next() == ["1-2"]


async def test_a_new_turn_is_followed_without_reading_its_log():
    asked = Asked(is_behind=False)
    assert await asked.next() == []
    asked.tail.offer(publication(1, 0, delta("a")))
    assert await asked.next() == ["1-0"]
    assert asked.cursors == []


async def test_a_new_turn_whose_first_event_was_missed_is_read_as_soon_as_the_next_one_comes():
    asked = Asked(is_behind=False)
    assert await asked.next() == []
    asked.tail.offer(publication(1, 1, delta("b")))
    assert await asked.next() == []
    assert asked.cursors == [None]


async def test_publications_come_together_in_one_batch():
    asked = Asked()
    await asked.live("1-0")
    asked.tail.offer(publication(1, 1, delta("a"), delta("b")))
    asked.tail.offer(publication(1, 3, delta("c")))
    assert await asked.next() == ["1-1", "1-2", "1-3"]
    assert asked.cursors == []


async def test_a_gap_sends_it_to_the_log():
    asked = Asked()
    await asked.live("1-0")
    asked.tail.offer(publication(1, 2, delta("b")))
    assert await asked.next() == []
    assert asked.cursors == [Cursor(1, 0)]


async def test_a_new_attempt_sends_it_to_the_log():
    asked = Asked()
    await asked.live("1-0")
    asked.tail.offer(publication(2, 1, delta("b")))
    assert await asked.next() == []
    assert asked.cursors == [Cursor(1, 0)]


async def test_what_comes_while_it_reads_is_not_lost():
    asked = Asked()
    await asked.live("1-0")
    asked.tail.fall_behind()
    assert await asked.next() == []
    asked.tail.offer(publication(1, 2, delta("b")))
    asked.tail.land(page("1-1"))
    assert await asked.next() == ["1-1"]
    assert await asked.next() == ["1-2"]


async def test_falling_behind_while_it_reads_makes_it_read_again():
    asked = Asked()
    assert await asked.next() == []
    asked.tail.fall_behind()
    asked.tail.land(page("1-0"))
    assert await asked.next() == ["1-0"]
    assert await asked.next() == []
    assert asked.cursors == [None, Cursor(1, 0)]


async def test_a_cut_page_is_followed_by_the_next():
    asked = Asked()
    assert await asked.next() == []
    asked.tail.land(page("1-0", more=True))
    assert await asked.next() == ["1-0"]
    assert await asked.next() == []
    assert asked.cursors == [None, Cursor(1, 0)]


async def test_a_full_buffer_is_dropped_and_read_from_the_log():
    asked = Asked(buffer_bytes=300)
    await asked.live("1-0")
    for seq in range(1, 5):
        asked.tail.offer(publication(1, seq, delta("x" * 100)))
    asked.tail.offer(publication(1, 5, b'{"type":"' + b"x" * 500 + b'","data":{}}'))  # larger than the whole buffer
    assert await asked.next() == []
    assert asked.cursors == [Cursor(1, 0)]


async def test_a_silence_without_anything_new_changes_nothing():
    asked = Asked()
    await asked.live("1-0")
    asked.tail.silent(Cursor(1, 0), over=False)
    assert await asked.next() == []
    assert asked.cursors == []


async def test_a_silence_in_which_the_log_grew_sends_it_to_the_log():
    asked = Asked()
    await asked.live("1-0")
    asked.tail.silent(Cursor(1, 3), over=False)
    assert await asked.next() == []
    assert asked.cursors == [Cursor(1, 0)]
    assert asked.checks[-1] is False


async def test_a_silence_in_which_the_turn_ended_ends_it():
    asked = Asked()
    await asked.live("1-0")
    asked.tail.silent(Cursor(1, 0), over=True)
    assert await asked.next() == []
    assert asked.checks[-1] is True
    asked.tail.land(page(over=True))
    with pytest.raises(StopAsyncIteration):
        await asked.next()


class Pushed(Asked):
    """A tail whose reader takes publications at once, as long as it is `ready`."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = True
        self.got: list[str] = []
        self.tail.push = self._push

    def _push(self, publication: Publication) -> bool:
        if self.ready:
            self.got += [entry.id.decode() for entry in publication.entries]
        return self.ready


@asynccontextmanager
async def waiting(asked: Asked) -> AsyncIterator[asyncio.Task[list[str]]]:
    """Yield while the tail's reader waits for the next batch."""
    asked.tail._idle_s = None
    task = asyncio.create_task(asked.next())
    await asyncio.sleep(0)
    yield task
    task.cancel()


async def test_what_comes_next_is_pushed_and_wakes_nobody():
    asked = Pushed()
    await asked.live("1-0")
    async with waiting(asked) as batch:
        asked.tail.offer(publication(1, 1, delta("a"), delta("b")))
        asked.tail.offer(publication(1, 3, delta("c")))
        await asyncio.sleep(0)
        assert not batch.done()
    assert asked.got == ["1-1", "1-2", "1-3"]
    assert asked.tail.cursor == Cursor(1, 3)


async def test_a_reader_that_takes_no_more_gets_a_batch():
    asked = Pushed()
    await asked.live("1-0")
    async with waiting(asked) as batch:
        asked.tail.offer(publication(1, 1, delta("a")))
        asked.ready = False
        asked.tail.offer(publication(1, 2, delta("b")))
        asked.ready = True
        asked.tail.offer(publication(1, 3, delta("c")))  # not before what waits
        assert await batch == ["1-2", "1-3"]
    assert asked.got == ["1-1"]


@pytest.mark.parametrize("place", [(1, 2), (2, 1)])
async def test_what_does_not_follow_is_never_pushed(place: tuple[int, int]):
    asked = Pushed()
    await asked.live("1-0")
    async with waiting(asked):
        asked.tail.offer(publication(*place, delta("b")))
        await asyncio.sleep(0)
    assert asked.got == []
    assert asked.cursors == [Cursor(1, 0)]


async def test_nothing_is_pushed_to_a_reader_that_is_behind_or_busy():
    asked = Pushed()
    asked.tail.offer(publication(1, 0, delta("a")))  # it has not begun
    async with waiting(asked) as batch:  # it reads
        asked.tail.offer(publication(1, 1, delta("b")))
        asked.tail.land(page("1-0"))
        assert await batch == ["1-0"]
    asked.tail.offer(publication(1, 2, delta("c")))  # it writes
    assert asked.got == []
    assert await asked.next() == ["1-1", "1-2"]


async def test_it_ends_when_the_terminal_event_was_pushed():
    asked = Pushed()
    await asked.live("1-0")
    async with waiting(asked) as batch:
        asked.tail.offer(publication(1, 1, END))
        with pytest.raises(StopAsyncIteration):
            await batch
    assert asked.got == ["1-1"]


async def test_what_is_pushed_puts_the_report_of_silence_off():
    asked = Pushed()
    await asked.live("1-0")
    asked.tail._idle_s = 0.6
    batch = asyncio.create_task(asked.next())
    for number in range(5):
        await let_pass(0.15)
        asked.tail.offer(publication(1, 1 + number, delta("a")))
    assert not batch.done()
    assert await batch == []


@pytest.mark.parametrize("way", ["publication", "page"])
async def test_it_ends_after_the_terminal_event(way: str):
    asked = Asked()
    await asked.live("1-0")
    if way == "publication":
        asked.tail.offer(publication(1, 1, END))
        asked.tail.offer(publication(2, 2, delta("asked again")))
    else:
        asked.tail.fall_behind()
        assert await asked.next() == []
        asked.tail.land(Page([Entry(b"1-1", END)]))
    assert await asked.next() == ["1-1"]
    with pytest.raises(StopAsyncIteration):
        await asked.next()


async def test_a_defect_reaches_the_reader():
    asked = Asked()
    asked.tail.fail(StoreUnavailable("x"))
    with pytest.raises(StoreUnavailable):
        await asked.next()


async def test_stopping_wakes_a_waiting_reader():
    tail = Tail(None, ask=lambda *_: None, buffer_bytes=1, idle_s=None)
    waiting = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0)
    tail.stop()
    with pytest.raises(StopAsyncIteration):
        await waiting
