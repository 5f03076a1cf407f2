"""Serves the web page: / is its document, and /page/… are the scripts, the styles and the icon that it loads."""

import hashlib
import html
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.resource import Handler
from turnwire.shared.errors import NotFound
from turnwire.shared.settings import Settings

DOCUMENT: Final = "index.html"
TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
GUARDS: Final = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
}


class File(msgspec.Struct, frozen=True):
    """One file of the page. `etag` names its content, so that a browser asks for it again only when it has changed."""

    body: bytes
    media_type: str
    etag: str


def page_handlers(settings: Settings) -> Mapping[str, Handler]:
    """Return the handlers of the page by path; none if the page is switched off.

    They are for everybody: the page holds no secret, and asks its user for credentials by itself.
    """
    if not settings.page:
        return {}
    document = _document(settings.root_path)

    async def show(exchange: Exchange) -> None:
        """GET /"""
        await _send(exchange, document)

    return {"/": show, "/page/{file}": send_file}


async def send_file(exchange: Exchange) -> None:
    """GET /page/{file}"""
    file = page_files().get(exchange.scope["path_params"]["file"])
    if file is None:
        raise NotFound("the page has no such file")
    await _send(exchange, file)


@cache
def page_files() -> Mapping[str, File]:
    """Return every file of the page by name."""
    found = {}
    for entry in (files("turnwire.api") / "page").iterdir():
        ending = entry.name.rpartition(".")[2]
        if ending in TYPES:
            found[entry.name] = _file(entry.read_bytes(), TYPES[ending])
    return found


def _document(root_path: str | None) -> File:
    """Return the document. All its addresses are relative, so it works behind a proxy that adds a path in front.

    With `root_path`, it also works at this path without a slash at its end.
    """
    document = page_files()[DOCUMENT]
    if root_path is None:
        return document
    base = f'<base href="{html.escape(root_path)}/">'.encode()
    return _file(document.body.replace(b"<head>", b"<head>" + base, 1), document.media_type)


def _file(body: bytes, media_type: str) -> File:
    return File(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:24]}"')


async def _send(exchange: Exchange, file: File) -> None:
    headers = {**GUARDS, "etag": file.etag, "cache-control": "no-cache"}
    known = exchange.headers.get("if-none-match", "")
    if file.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        await exchange.answer(304, headers)
    else:
        await exchange.answer(200, headers | {"content-type": file.media_type}, file.body)
