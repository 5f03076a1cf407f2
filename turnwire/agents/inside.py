"""Tells the code of an agent from the work of its steps, whose models and tools are no steps of their own."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

# True inside the work of a step. What runs there, such as an agent that is a tool, is a part of that step.
_in_step: Final[ContextVar[bool]] = ContextVar("turnwire_in_step", default=False)


@contextmanager
def inside() -> Generator[None]:
    """Mark the code in the block as the work of a step."""
    token = _in_step.set(True)
    try:
        yield
    finally:
        _in_step.reset(token)


def is_inside() -> bool:
    """Whether this code is the work of a step."""
    return _in_step.get()
