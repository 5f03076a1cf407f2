"""A cursor's text, and its neighbour."""

import pytest

from turnwire.shared.errors import BadRequest
from turnwire.shared.events import MAX_SEQ, Cursor


@pytest.mark.parametrize("cursor", [Cursor(1, 1), Cursor(3, 0), Cursor(1, 0), Cursor(2, MAX_SEQ)])
def test_nothing_lies_between_a_cursor_and_the_one_just_before(cursor: Cursor):
    before = cursor.just_before
    assert before < cursor
    assert cursor in {Cursor(before.attempt, before.seq + 1), Cursor(before.attempt + 1, 0)}
    assert before.seq == cursor.seq - 1 if cursor.seq else before.seq == MAX_SEQ


def test_the_greatest_cursor_can_be_read_and_no_greater_one():
    assert Cursor.parse(f"{MAX_SEQ}-{MAX_SEQ}") == Cursor(MAX_SEQ, MAX_SEQ)
    for text in (f"{MAX_SEQ + 1}-0", f"1-{MAX_SEQ + 1}"):
        with pytest.raises(BadRequest):
            Cursor.parse(text)
