"""A product's own words become text that can be stored and sent."""

from enum import Enum

import pytest

from turnwire.shared.errors import TurnFailure, storable


class Code(Enum):
    QUOTA = "quota"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("half \ud83d", "half \ufffd"),
        ("\ud83d\ude00", "😀"),
        (42, "42"),
        (Unprintable(), "Unprintable"),
        (None, "None"),
    ],
)
def test_anything_becomes_text_that_utf8_has_a_form_for(given, text):
    assert storable(given) == text
    storable(given).encode()


def test_a_failure_takes_what_a_product_gives():
    failure = TurnFailure("half \ud83d", code=Code.QUOTA, retryable=1)
    assert (str(failure), failure.code, failure.retryable) == ("half \ufffd", "quota", True)
    assert TurnFailure("x", code=None).code == "turn_failed"
