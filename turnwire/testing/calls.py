"""Counts calls that have effects outside of Turnwire: a payment, a mail, a row in a database."""

import functools
import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


class Calls:
    """Counts calls by name: give a product `calls.counted(charge)` in place of `charge`, and read `calls.counts`.

    `counts` is a Counter: name -> number of calls. `crash_at_each_write` clears it before each of its runs.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def note(self, name: str) -> None:
        """Count one call of this name."""
        self.counts[name] += 1

    def counted(self, function: Callable[P, T], name: str | None = None) -> Callable[P, T]:
        """Return a function that does the same, and counts its calls under `name`, by default the function's own name.

        `function` may be a plain or a coroutine function.
        """
        named = str(name or getattr(function, "__name__", type(function).__name__))
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
                self.note(named)
                return await function(*args, **kwargs)

            return cast("Callable[P, T]", awaited)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> T:
            self.note(named)
            return function(*args, **kwargs)

        return called
