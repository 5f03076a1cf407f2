"""The options of a turn: how the client wants it to be answered. Hooks and the default backend read them."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from turnwire.shared.errors import InvalidInput

MAX_OPTIONS_BYTES: Final = 65_536
MAX_JSON_DEPTH: Final = 32

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Stop = Annotated[str, Meta(min_length=1, max_length=1000)]


class TurnOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The options, by the names of the chat completions API. An absent option and null mean the same."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    stop: Stop | Annotated[list[Stop], Meta(min_length=1, max_length=16)] | None = None
    seed: Annotated[int, Meta(ge=-(2**53), le=2**53)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    reasoning_effort: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    response_format: dict[str, Any] | None = None
    tools: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=128)] | None = None
    tool_choice: Annotated[str, Meta(min_length=1, max_length=64)] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None


def checked_options(options: TurnOptions | None) -> dict[str, Any] | None:
    """Return the options that are there as they are kept; None if there are none.

    Raises:
        InvalidInput: they are too large, or nested too deeply.
    """
    if options is None:
        return None
    given: dict[str, Any] = msgspec.to_builtins(options)
    check_json("options", given, MAX_OPTIONS_BYTES)
    return given or None


def options_of(options: Any) -> dict[str, Any] | None:
    """Check options that a program gives as a mapping, or None.

    Raises:
        InvalidInput: an option is not known, or has a value that is not allowed.
    """
    try:
        return checked_options(msgspec.convert(options, TurnOptions | None))
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from None


def check_json(name: str, value: dict[str, Any], max_bytes: int) -> None:
    """Check the size of a JSON object that a client gave.

    Raises:
        InvalidInput: it is too large, or nested too deeply.
    """
    level, depth = [value], 0
    while level and depth < MAX_JSON_DEPTH:
        level, depth = [child for each in level for child in _children(each)], depth + 1
    if level:
        raise InvalidInput(f"{name} is nested deeper than {MAX_JSON_DEPTH} levels")
    if len(msgspec.json.encode(value)) > max_bytes:
        raise InvalidInput(f"{name} has more than {max_bytes} bytes")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
