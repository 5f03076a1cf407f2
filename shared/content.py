"""The content of a user's message: a text, or parts: texts, images, files and sounds.

The parts are checked where they come in. Inside, they are plain JSON, so that products and model servers get what the
client sent. Turnwire never fetches the URL of a part.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from turnwire.shared.errors import InvalidInput

MAX_PARTS: Final = 100
MAX_URL_CHARACTERS: Final = 8192  # of a URL that is not a data URI; a data URI is limited by the body alone

_HTTP_URL: Final = re.compile(r"https?://[^\s/?#]+[!-~]*\Z", re.IGNORECASE)
_DATA_HEAD: Final = re.compile(r"data:([\w.+-]+)/[\w.+-]+(?:;[\w-]+=[\w.+-]+)*;base64\Z", re.IGNORECASE)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}\Z")

Text = Annotated[str, Meta(min_length=1)]
Url = Annotated[str, Meta(min_length=1, description="http:// or https://, or a data: URI in base64")]


class _Checked(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a client sends: a field that is not known is refused."""


class TextPart(_Checked, frozen=True, tag_field="type", tag="text"):
    """A piece of text."""

    text: Text


class ImageUrl(_Checked, frozen=True):
    """An image. `detail`: how closely the model should look."""

    url: Url
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(_Checked, frozen=True, tag_field="type", tag="image_url"):
    """A part with an image."""

    image_url: ImageUrl


class InputFile(_Checked, frozen=True):
    """A file, for example a PDF."""

    url: Url
    filename: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class FilePart(_Checked, frozen=True, tag_field="type", tag="input_file"):
    """A part with a file."""

    input_file: InputFile


class InputAudio(_Checked, frozen=True):
    """A sound. `format`: `wav`, `mp3`, …; without it, the media type of a data URI tells it."""

    url: Url
    format: Annotated[str, Meta(pattern="^[a-z0-9]{1,16}$")] | None = None


class AudioPart(_Checked, frozen=True, tag_field="type", tag="input_audio"):
    """A part with a sound."""

    input_audio: InputAudio


Part: TypeAlias = TextPart | ImagePart | FilePart | AudioPart
Content: TypeAlias = str | list[dict[str, Any]]  # the parts as JSON objects


def checked_content(message: str | Sequence[Part]) -> Content:
    """Return the message as it is kept. One part that is a text is the same as this text.

    Raises:
        InvalidInput: a URL is not one, or is not of the kind of its part.
    """
    if isinstance(message, str):
        return message
    for number, part in enumerate(message):
        match part:
            case ImagePart():
                _check_url(part.image_url.url, f"message[{number}].image_url.url", "image")
            case FilePart():
                _check_url(part.input_file.url, f"message[{number}].input_file.url", None)
            case AudioPart():
                _check_url(part.input_audio.url, f"message[{number}].input_audio.url", "audio")
    match message:
        case [TextPart(text)]:
            return text
        case _:
            parts: list[dict[str, Any]] = msgspec.to_builtins(list(message))
            return parts


def content_of(message: Any) -> Content:
    """Check a message that a program gives as a text, or as a list of parts in the form of the API.

    Raises:
        InvalidInput: it is neither.
    """
    kind = Text | Annotated[list[Part], Meta(min_length=1, max_length=MAX_PARTS)]
    try:
        return checked_content(msgspec.convert(message, kind))
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from None


def _check_url(url: str, place: str, kind: str | None) -> None:
    if url[:5].lower() != "data:":
        if len(url) > MAX_URL_CHARACTERS or not _HTTP_URL.match(url):
            raise InvalidInput(f"{place} must be an http or https URL, or a data URI")
        return
    head, _, data = url.partition(",")
    media = _DATA_HEAD.match(head)
    if media is None or len(data) % 4 or not _BASE64.match(data):
        raise InvalidInput(f"{place} is not a data URI of the form data:<media type>;base64,<base64>")
    if kind is not None and media[1].lower() != kind:
        raise InvalidInput(f"{place} must be a data URI of {kind}/…")


def text_of_content(content: Content) -> str:
    """Return the text of a message. The texts of several parts are on lines of their own."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def content_bytes(content: Content) -> int:
    """Return the size of a message."""
    return len(content.encode() if isinstance(content, str) else msgspec.json.encode(content))
