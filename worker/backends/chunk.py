"""Reads one chunk of a streamed chat completion, as leniently as the answer allows. It does no I/O.

Only what is needed is looked at. A field that nobody reads, or that has an unexpected type, never costs an answer.
"""

import json
from typing import Any, Final

import msgspec

from turnwire.worker.backends.surrogates import without_surrogates

_NO_REASON: Final = frozenset({"", "null", "none"})  # some servers send the absence of a reason as text

_TEXT_PARTS: Final = ("text", "output_text", None)


class Chunk(msgspec.Struct):
    """The fields of a chunk that are read. Their types are what the server made them."""

    choices: Any = None
    id: Any = None
    model: Any = None
    usage: Any = None
    error: Any = None
    error_type: Any = None  # beside an `error` that is a text
    object: Any = None  # "error" in the errors of some servers
    type: Any = None
    success: Any = None
    x_groq: Any = None  # Groq reports the usage here, too
    citations: Any = None
    search_results: Any = None

    @property
    def is_error(self) -> bool:
        """Whether the server reports an error instead of a piece of the answer."""
        return bool(self.error) or self.object == "error" or self.type == "error" or self.success is False

    @property
    def first_choice(self) -> dict[str, Any] | None:
        """The first choice, the only one that was asked for. A server may send others, which must not be mixed in."""
        for choice in self.choices if isinstance(self.choices, list) else []:
            if isinstance(choice, dict) and choice.get("index") in (None, 0, "0"):
                return choice
        return None


_decode = msgspec.json.Decoder(Chunk).decode


def decode_chunk(data: str) -> Chunk:
    """Decode the data of one event.

    Raises:
        ValueError: it is not a JSON object.
    """
    try:
        return _decode(data)
    except (msgspec.DecodeError, RecursionError):
        pass
    # Python's own decoder takes what some servers send and what JSON proper does not allow: NaN and Infinity, and half
    # a surrogate pair.
    try:
        fields = json.loads(data)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the data is wrong, not the caller
    return Chunk(**{name: fields[name] for name in Chunk.__struct_fields__ if name in fields})


def fields_of(value: Any) -> dict[str, Any]:
    """Return an object's fields. Anything else has none: PHP sends an empty object as a list."""
    return value if isinstance(value, dict) else {}


def finish_reason_of(choice: dict[str, Any]) -> str | None:
    """Return the server's word for why the answer ended, or None if the choice names no reason."""
    reason = choice.get("finish_reason")
    if not isinstance(reason, str) or reason.strip().lower() in _NO_REASON:
        return None
    return without_surrogates(reason.strip())


def text_and_thoughts(content: Any) -> tuple[str, str]:
    """Return the text, and the reasoning, of a `content`, a text or a list of parts. Unknown parts are skipped."""
    if isinstance(content, str):
        return content, ""
    text, thoughts = "", ""
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            text += part
        elif isinstance(part, dict) and part.get("type") == "thinking":
            thoughts += text_and_thoughts(part.get("thinking"))[0]
        elif isinstance(part, dict) and part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str):
            text += part["text"]
    return text, thoughts
