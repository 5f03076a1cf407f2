"""Careless products: they raise what must not leave a turn, or hand over values that cannot be stored.

Each entry of `CARELESS` has the code with which its turn must fail. Nothing else may happen.
"""

import asyncio
import enum
import math
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, NamedTuple, NoReturn

from turnwire import Turn, TurnFailure

HALF: Final = "half \ud83d"  # of a surrogate pair: UTF-8 has no form for it

Events = AsyncGenerator[dict[str, Any]]


class Word(enum.Enum):
    """An error code that is not a plain string."""

    BAD = "bad_word"


class Careless(NamedTuple):
    """The error code with which the turn must fail, and what the product does."""

    code: str
    events: Callable[[Turn], Events]


def raising(error: Callable[[], BaseException]) -> Callable[[Turn], Events]:
    """Return a producer that raises this error."""

    async def events(_: Turn) -> Events:
        yield {"type": "careless.raise", "data": {}}
        raise error()

    return events


def yielding(value: Any) -> Callable[[Turn], Events]:
    """Return a producer that yields this value as the data of an event."""

    async def events(_: Turn) -> Events:
        yield {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": value}}

    return events


def stepping(work: Callable[[], Any]) -> Callable[[Turn], Events]:
    """Return a producer that asks for this step."""

    async def events(turn: Turn) -> Events:
        yield {"type": "careless.step", "data": {"result": await turn.step("careless", work)}}

    return events


def _exit() -> NoReturn:
    raise SystemExit(2)


def _nothing_found() -> Any:
    return next(iter(()))  # raises StopIteration


async def _nested(turn: Turn) -> Events:
    async def outer() -> Any:
        return await turn.step("inner", lambda: 1)

    yield {"type": "careless.step", "data": {"result": await turn.step("outer", outer)}}


CARELESS: Final[dict[str, Careless]] = {
    "surrogate in an error": Careless("producer_error", raising(lambda: ValueError(HALF))),
    "SystemExit": Careless("producer_error", raising(lambda: SystemExit(2))),
    "KeyboardInterrupt": Careless("producer_error", raising(KeyboardInterrupt)),
    "CancelledError": Careless("producer_error", raising(asyncio.CancelledError)),
    "code that is no text": Careless("bad_word", raising(lambda: TurnFailure(HALF, code=Word.BAD))),
    "surrogate in an event": Careless("invalid_event", yielding(HALF)),
    "NaN in an event": Careless("invalid_event", yielding(math.nan)),
    "SystemExit in a step": Careless("producer_error", stepping(_exit)),
    "StopIteration in a step": Careless("producer_error", stepping(_nothing_found)),
    "surrogate in a step": Careless("step_not_json", stepping(lambda: HALF)),
    "object in a step": Careless("step_not_json", stepping(object)),
    "nested step": Careless("nested_step", _nested),
}
STEPS: Final = {name for name in CARELESS if name.endswith("step")}  # not possible while a stream step is open
