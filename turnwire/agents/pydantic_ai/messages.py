"""Turns the messages of a turn into messages of Pydantic AI."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    UserContent,
    UserPromptPart,
)

_LINKED: Final[dict[str, Callable[[str], UserContent]]] = {
    "image_url": ImageUrl,
    "input_audio": AudioUrl,
    "input_file": DocumentUrl,
}


def prompt_of(message: str | Sequence[dict[str, Any]]) -> str | list[UserContent]:
    """Return the prompt that a user's message is: `turn.message`, or the content of a message of `turn.history()`."""
    return message if isinstance(message, str) else [_content(part) for part in message]


def history_of(messages: Sequence[dict[str, Any]]) -> list[ModelMessage]:
    """Return what `turn.history()` gives as Pydantic AI's message history."""
    return [
        ModelRequest([UserPromptPart(prompt_of(message["content"]))])
        if message["role"] == "user"
        else ModelResponse([TextPart(str(message["content"]))])
        for message in messages
    ]


def _content(part: dict[str, Any]) -> UserContent:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": kind, **rest}:
            url = rest[kind]["url"]
            if url[:5].lower() == "data:":
                return BinaryContent.from_data_uri(url)
            return _LINKED[kind](url)
    raise AssertionError("the API takes no other parts")
