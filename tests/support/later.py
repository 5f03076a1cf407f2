"""Imports a module when it is needed first.

Every process of pytest-xdist collects every test file, and most of them run no test of a framework whose import takes
a second.
"""

import importlib
from typing import Any


class Later:
    """A module by its name. It is imported when somebody asks for one of its public names; pytest asks for others."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self._module), name)
