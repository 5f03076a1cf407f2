"""Serves /openapi.json and /docs. Each document is made once."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.resource import Handler
from turnwire.api.endpoints import openapi
from turnwire.api.endpoints.routes import OPERATIONS


async def description(exchange: Exchange) -> None:
    """GET /openapi.json"""
    await exchange.answer(200, {"content-type": "application/json", "cache-control": "no-cache"}, _document())


async def docs(exchange: Exchange) -> None:
    """GET /docs: the description of the API for people"""
    headers = {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-cache",
        "content-security-policy": _policy(),
    }
    await exchange.answer(200, headers, _html().encode())


@cache
def _document() -> bytes:
    return openapi.document(OPERATIONS)


@cache
def _html() -> str:
    return (files("turnwire.api.endpoints") / "docs.html").read_text(encoding="utf-8")


@cache
def _policy() -> str:
    """Return a policy that lets only the page's own script run, and lets it send requests only to this server."""
    script = _html().partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    own = "style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'"
    return f"default-src 'none'; script-src 'sha256-{digest}'; {own}"


PUBLIC: Final[Mapping[str, Handler]] = {
    "/openapi.json": description,
    "/docs": docs,
}  # for everybody: they tell no secret
