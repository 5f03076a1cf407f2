"""The parts of a message: which are taken, and what is kept of them."""

import pytest

from turnwire.shared.content import MAX_URL_CHARACTERS, content_bytes, content_of, text_of_content
from turnwire.shared.errors import InvalidInput

TEXT = {"type": "text", "text": "hi"}
PNG = "data:image/png;base64,iVBORw0KGgo="


def image(url, **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(url, **more):
    return {"type": "input_file", "input_file": {"url": url, **more}}


def audio(url, **more):
    return {"type": "input_audio", "input_audio": {"url": url, **more}}


def test_one_text_is_the_same_as_its_only_part():
    assert content_of("hi") == content_of([TEXT]) == "hi"
    assert content_of([TEXT, TEXT]) == [TEXT, TEXT]


@pytest.mark.parametrize(
    "part",
    [
        image("https://a.example/b.png?x=%20#y", detail="low"),
        image("HTTP://a"),
        image(PNG),
        image("data:IMAGE/svg+xml;charset=utf-8;base64,PHN2Zz4="),
        file("data:application/vnd.ms-excel;base64,AAAA", filename="a b.xls"),
        file("https://a/b.pdf"),
        audio("data:audio/mpeg;base64,SUQz", format="mp3"),
        audio("https://a/b.wav"),
    ],
    ids=lambda part: next(iter(part.values())),
)
def test_a_part_is_kept_as_it_was_sent(part):
    assert content_of([TEXT, part]) == [TEXT, part]
    assert content_of([part]) == [part]
    assert text_of_content([TEXT, part, TEXT]) == "hi\nhi"
    assert content_bytes([part]) > len("http://a")


def test_an_absent_field_and_null_are_kept_alike():
    assert content_of([image(PNG, detail=None)]) == [image(PNG)]


@pytest.mark.parametrize(
    ("part", "named"),
    [
        (image("ftp://a/b"), r"message\[1\]\.image_url\.url must be an http"),
        (image("file:///etc/passwd"), "must be an http"),
        (image("https:///b"), "must be an http"),
        (image("https://a/b c"), "must be an http"),
        (image("https://a/" + "b" * MAX_URL_CHARACTERS), "must be an http"),
        (image("data:image/png,plain"), "is not a data URI"),
        (image("data:image/png;base64,iVBORw0KGg"), "is not a data URI"),
        (image("data:image/png;base64,iVBO\nRw=="), "is not a data URI"),
        (image("data:;base64,AAAA"), "is not a data URI"),
        (image("data:text/html;base64,AAAA"), r"must be a data URI of image/…"),
        (audio(PNG), r"message\[1\]\.input_audio\.url must be a data URI of audio/…"),
        (file("data:application/pdf;base64,"), "is not a data URI"),
        (image(PNG, detail="huge"), "enum"),
        (audio("https://a", format="../x"), "regex"),
        ({"type": "image_url", "image_url": "https://a"}, "Expected `object`"),
        ({"type": "text", "text": ""}, "length"),
        ({"type": "text", "text": "a", "more": 1}, "unknown field"),
        ({"text": "a"}, "type"),
    ],
)
def test_a_part_that_is_none_is_refused_with_its_place(part, named):
    with pytest.raises(InvalidInput, match=named):
        content_of([TEXT, part])


@pytest.mark.parametrize("message", ["", [], None, 7, [TEXT] * 101, {"type": "text", "text": "a"}])
def test_what_is_neither_text_nor_parts_is_refused(message):
    with pytest.raises(InvalidInput):
        content_of(message)
