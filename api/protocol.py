"""What uvicorn's HTTP parser does with a request that it cannot read: a typed refusal, and a limit on headers."""

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.problems import problem_response
from shared.errors import BadRequest

MAX_HEAD_BYTES: Final = 65_536  # request line and headers; uvicorn itself would keep any amount


class HeadTooLargeError(Exception):
    """Ends the parsing; the parser reports it as a bad request."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    _head_bytes = 0

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

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

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - its own words say less
        detail = "this is not HTTP that the server can read"
        if self._head_bytes > MAX_HEAD_BYTES:
            detail = f"the request line and headers have at most {MAX_HEAD_BYTES} bytes"
        response = problem_response(BadRequest(detail))
        lines = [b"HTTP/1.1 400 Bad Request", *(b"%b: %b" % pair for pair in response.raw_headers)]
        self.transport.write(b"\r\n".join([*lines, b"connection: close", b"", bytes(response.body)]))
        self.transport.close()
