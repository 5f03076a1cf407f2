"""Imports a module when it is needed first.

Most runs need no test of a framework whose import takes a second, but collect the files of these tests. Each process of
pytest-xdist collects all files. Processes that are forked share what is imported before.
"""

import importlib
from typing import Any

_wanted: list[str] = []


def import_now() -> None:
    """Import what the collected tests will need, before processes are forked that would each import it."""
    for module in _wanted:
        importlib.import_module(module)


class Later:
    """A module by its name. It is imported when somebody asks for one of its public names; pytest asks for others."""

    def __init__(self, module: str) -> None:
        self._module = module
        _wanted.append(module)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self._module), name)
