"""Serves /openapi.json and /docs. Each document is made once."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.resource import Handler
from turnwire.api.endpoints import openapi
from turnwire.api.endpoints.routes import OPERATIONS
from turnwire.shared.settings import Settings


async def docs(exchange: Exchange) -> None:
    """GET /docs: the description of the API for people"""
    headers = {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-cache",
        "content-security-policy": _policy(),
    }
    await exchange.answer(200, headers, _html().encode())


@cache
def _document(root_path: str | None) -> bytes:
    return openapi.document(OPERATIONS, root_path)


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


def public_pages(settings: Settings) -> Mapping[str, Handler]:
    """Return the pages for everybody, by their paths. They tell no secret."""

    async def description(exchange: Exchange) -> None:
        """GET /openapi.json"""
        headers = {"content-type": "application/json", "cache-control": "no-cache"}
        await exchange.answer(200, headers, _document(settings.root_path))

    return {"/openapi.json": description, "/docs": docs}
