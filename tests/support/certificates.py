"""Reads the certificates of the machine once in a process: a client of httpx reads them at every start, for 30 ms."""

import os
import ssl
from functools import cache
from typing import Any

import httpx
from httpx._config import create_ssl_context
from httpx._transports import default


@cache
def _context(trusts_env: bool, certificates: tuple[str | None, str | None]) -> ssl.SSLContext:
    return create_ssl_context(trust_env=trusts_env)


def kept_context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    """Return what httpx would make, the same one each time where the settings are the same."""
    if verify is True and cert is None:
        return _context(trust_env, (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")))
    return create_ssl_context(verify, cert, trust_env)


def keep() -> None:
    """Let every client of this process share what was read."""
    httpx.create_ssl_context = kept_context
    default.create_ssl_context = kept_context  # type: ignore[attr-defined] # what the clients call
