"""/openapi.json and /docs: bytes that are made once."""

import base64
import hashlib
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from turnwire.api.endpoints import openapi


async def description(_: Request) -> Response:
    """GET /openapi.json"""
    return Response(openapi.document(), 200, {"content-type": "application/json", "cache-control": "no-cache"})


async def docs(_: Request) -> Response:
    """GET /docs: the same for people."""
    headers = {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-cache",
        "content-security-policy": _policy(),
        "x-content-type-options": "nosniff",
    }
    return Response(_html(), 200, headers)


@cache
def _html() -> str:
    return (files("turnwire.api.endpoints") / "docs.html").read_text(encoding="utf-8")


@cache
def _policy() -> str:
    """Only the script in the page itself may run, and it may only ask this server."""
    script = _html().partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src 'self'"
