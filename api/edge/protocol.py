"""Extends uvicorn's HTTP protocol in three ways: a malformed request gets a problem document, the size of the headers
is limited, and a stream can write to its connection directly and is told when it is lost (wire.py).

This uses parts of uvicorn that are not public; tests/test_private_names.py lists them.
"""

from collections.abc import Callable
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from turnwire.api.edge.problems import problem_response
from turnwire.api.edge.wire import CONNECTION
from turnwire.shared.errors import BadRequest

MAX_HEAD_BYTES: Final = 65_536  # request line and headers; uvicorn itself would keep any amount


class HeadTooLargeError(Exception):
    """Ends the parsing: the parser then reports a bad request."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    on_lost: Callable[[], None] | None = None
    _head_bytes = 0

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: self}  # type: ignore[dict-item]

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.scope:
            self.scope.pop("extensions", None)  # it refers back to this object: free both at once
        if self.on_lost:
            self.on_lost()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            raise HeadTooLargeError

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text says less
        detail = "malformed HTTP request"
        if self._head_bytes > MAX_HEAD_BYTES:
            detail = f"the request line and headers have more than {MAX_HEAD_BYTES} bytes"
        response = problem_response(BadRequest(detail))
        lines = [b"HTTP/1.1 400 Bad Request", *(b"%b: %b" % pair for pair in response.raw_headers)]
        self.transport.write(b"\r\n".join([*lines, b"connection: close", b"", bytes(response.body)]))
        self.transport.close()
