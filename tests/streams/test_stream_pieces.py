"""How events become the bytes that are sent: in pieces of a bounded size, made once for all readers of the same."""

import asyncio

import pytest

from tests.support.published import publication
from tests.support.rawtail import unchunk
from tests.support.turns import KEY, append, delta, submit_and_claim
from turnwire.api.following.encode import CHUNK_BYTES, NDJSON, SSE, Encoder, Framing
from turnwire.api.following.tail import Tail
from turnwire.api.following.topic import PAGE_BYTES, Topic
from turnwire.shared.events import Cursor, Entry
from turnwire.shared.store.turns import TurnStore

SMALL = [Entry(b"1-%d" % seq, delta(f"word {seq} ")) for seq in range(20)]
LARGE = [Entry(b"1-%d" % seq, delta("x" * 10_000)) for seq in range(30)]


@pytest.mark.parametrize("framing", [NDJSON, SSE])
@pytest.mark.parametrize("batch", [SMALL, LARGE, LARGE[:1], SMALL + LARGE + SMALL])
def test_pieces_are_whole_lines_of_a_bounded_size(framing: Framing, batch: list[Entry]):
    pieces = [unchunk(chunk) for chunk in Encoder(framing).chunks(batch)]
    assert b"".join(pieces) == framing.lines(batch)
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert max(map(len, pieces)) < CHUNK_BYTES * 1.1 + 200 * len(SMALL)


def test_an_event_larger_than_a_piece_is_one():
    huge = Entry(b"1-0", delta("x" * CHUNK_BYTES * 2))
    pieces = Encoder(NDJSON).chunks([SMALL[0], huge, SMALL[1]])
    assert [len(piece) > CHUNK_BYTES for piece in pieces] == [False, True, False]


def test_readers_of_one_publication_get_the_very_same_bytes():
    whole = publication(1, 0, *(entry.event for entry in SMALL))
    batches = [whole.after(None), whole.after(Cursor(1, -1))]
    encoder = Encoder(NDJSON)
    pieces = [next(iter(encoder.chunks(batch or []))) for batch in batches]
    assert pieces[0] is pieces[1]
    rest = whole.after(Cursor(1, 3)) or []
    assert unchunk(next(iter(encoder.chunks(rest)))) == NDJSON.lines(SMALL[4:])


def test_equal_places_of_two_turns_are_not_mixed_up():
    one, other = ([Entry(b"1-0", delta(text)), Entry(b"1-1", delta(text))] for text in "ab")
    encoder = Encoder(NDJSON)
    for batch in (one, other, one):
        assert [unchunk(chunk) for chunk in encoder.chunks(batch)] == [NDJSON.lines(batch)]


async def test_a_page_holds_a_bounded_part_of_the_log_whatever_its_events_are(store: TurnStore):
    claimed = await submit_and_claim(store)
    for seq in range(1, 21):
        await append(store, claimed, seq, delta("x" * 50_000))
    pages = []
    async with asyncio.TaskGroup() as group:
        topic = Topic(KEY, store, group, 60.0)
        tail = Tail(None, ask=topic.ask, buffer_bytes=1000, idle_s=0.2)
        while batch := await anext(tail):
            pages.append(batch)
        topic.close()
    assert [entry.id.decode() for page in pages for entry in page] == [f"1-{seq}" for seq in range(21)]
    assert max(sum(len(entry.event) for entry in page) for page in pages) <= PAGE_BYTES


async def test_a_reader_that_does_not_come_back_holds_nothing():
    tail = Tail(None, ask=lambda *_: None, buffer_bytes=1000, idle_s=0.01)
    for seq in range(1000):
        tail.offer(publication(1, seq, delta("x" * 100)))
        assert tail._inbox_bytes <= 1000
    assert not tail._inbox
    assert await anext(tail) == []  # the tail asks for a page, and from then on keeps only newer events
    tail.offer(publication(1, 1000, delta("y")))
    assert len(tail._inbox or []) == 1
