"""Imports redis-py and httpx without the parts that no process here uses, which saves each process 15 MB.

redis-py imports PyJWT for one class, which reads tokens of Microsoft Entra. PyJWT imports all of `cryptography` where
that is installed, as it is with the extras for credentials and for the codec. httpx imports its own command line, and
with it rich, Pygments and click, where these are installed, as they are with the extra for the CLI.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any, Final

JWT: Final = "jwt"
HTTPX_COMMAND: Final = "httpx._main"


def import_lean() -> None:
    """Import redis-py, and prepare for the import of httpx. Both stay whole for a product that uses them.

    It must run before anything else imports either library. What is imported already stays as it is.
    """
    sys.modules.setdefault(HTTPX_COMMAND, None)  # type: ignore[arg-type]  # httpx then has a `main` that says so
    if JWT in sys.modules:
        return
    sys.modules[JWT] = _Deferred(JWT)
    try:
        import_module("redis.asyncio")
    finally:
        del sys.modules[JWT]


class _Deferred(ModuleType):
    """Stands in for a module in the namespace of redis-py. It imports the true one when an attribute is read."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system asks for these, and nobody else does
            raise AttributeError(name)
        return getattr(import_module(self.__name__), name)
