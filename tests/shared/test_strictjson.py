"""NaN and Infinity are refused, wherever they stand; a null that was meant is none of them."""

from dataclasses import dataclass

import msgspec
import pytest

from turnwire.shared import strictjson


class Point(msgspec.Struct):
    x: float | None


@dataclass
class Place:
    x: float | None


NON_FINITE = [float("nan"), float("inf"), float("-inf")]
FORMS = [lambda x: x, lambda x: {"a": [1, {"b": x}]}, lambda x: (x,), Point, Place, lambda x: [Point(x)]]


@pytest.mark.parametrize("encode", [strictjson.encode, strictjson.encode_sorted])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", NON_FINITE)
def test_it_is_refused(encode, form, number):
    with pytest.raises(ValueError, match="no form in JSON"):
        encode(form(number))


@pytest.mark.parametrize("form", FORMS)
def test_a_null_is_taken(form):
    assert b"null" in strictjson.encode(form(None))


def test_the_word_null_in_a_text_is_taken():
    assert strictjson.encode({"text": "null and void", "n": 1.5}) == b'{"text":"null and void","n":1.5}'
