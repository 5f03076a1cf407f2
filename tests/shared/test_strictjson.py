"""NaN and Infinity are refused, wherever they stand; a null that was meant is none of them."""

from dataclasses import dataclass

import msgspec
import pytest

from turnwire.shared.events import encode_event
from turnwire.shared.strictjson import encode_sorted


class Point(msgspec.Struct):
    x: float | None


@dataclass
class Place:
    x: float | None


NON_FINITE = [float("nan"), float("inf"), float("-inf")]
FORMS = [lambda x: x, lambda x: {"a": [1, {"b": x}]}, lambda x: (x,), Point, Place, lambda x: [Point(x)]]


def encode_as_data(value):
    return encode_event("t", {"value": value})


@pytest.mark.parametrize("encode", [encode_as_data, encode_sorted])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", NON_FINITE)
def test_it_is_refused(encode, form, number):
    with pytest.raises(ValueError, match="no form in JSON"):
        encode(form(number))


@pytest.mark.parametrize("encode", [encode_as_data, encode_sorted])
@pytest.mark.parametrize("form", FORMS)
def test_a_null_is_taken(encode, form):
    assert b"null" in encode(form(None))


def test_the_word_null_in_a_text_is_taken():
    assert encode_sorted({"text": "null and void", "n": 1.5}) == b'{"n":1.5,"text":"null and void"}'
