"""The content of one message of the channel, and how it continues what a reader has read before."""

from collections.abc import Sequence

import pytest

from tests.support.published import publication
from tests.support.turns import delta
from turnwire.api.following.publication import Publication, joined
from turnwire.shared.events import Cursor, Entry

END = b'{"type":"session.run.completed","data":{}}'


@pytest.mark.parametrize(
    ("cursor", "fresh"),
    [
        (None, None),  # its first event is not the log's first: read
        (Cursor(1, 4), None),  # another attempt: its events may have been discarded
        (Cursor(2, 3), None),  # a gap
        (Cursor(2, 4), ["2-5", "2-6"]),
        (Cursor(2, 5), ["2-6"]),
        (Cursor(2, 6), []),
        (Cursor(2, 9), []),
        (Cursor(3, 0), []),
    ],
)
def test_what_follows_a_cursor(cursor: Cursor | None, fresh: Sequence[str] | None):
    found = publication(2, 5, delta("a"), delta("b")).after(cursor)
    assert (None if found is None else [entry.id.decode() for entry in found]) == fresh


def test_the_first_publication_of_a_log_needs_no_read():
    assert publication(1, 0, delta("a")).after(None) == [Entry(b"1-0", delta("a"))]


def test_publications_that_continue_one_another_become_one():
    one, two = publication(1, 0, delta("a"), delta("b")), publication(1, 2, delta("c"))
    gap, again, end = publication(1, 4, delta("e")), publication(2, 5, delta("f")), publication(2, 6, END)
    whole, other, last = joined([one, two, gap, again, end])
    assert whole.entries == publication(1, 0, delta("a"), delta("b"), delta("c")).entries
    assert (whole.before, whole.last, whole.terminal, whole.size) == (None, Cursor(1, 2), False, one.size + two.size)
    assert other is gap
    assert (last.before, last.last, last.terminal) == (Cursor(2, 4), Cursor(2, 6), True)
    assert list(joined([])) == []


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\n", b"\xff\x00", b"1-0", b"1-0\n", b"1-0\nnonsense", b"1-0\n" + END + b"\nnonsense",
        b"1-" + b"9" * 5000, b"1-\n" + END, b"a-b\n" + END, b"1-2-3\n" + END, b"-1-0\n" + END, b"0-0\n" + END,
    ],
)  # fmt: skip
def test_a_message_in_another_form_is_no_publication(message: bytes):
    assert Publication.parse(message) is None
