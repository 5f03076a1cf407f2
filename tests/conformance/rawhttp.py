"""Sends requests that no HTTP client would send: the test chooses their bytes."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import httpx

TIMEOUT_S: Final = 20.0


def send(base_url: str, request: bytes, method: str | None = None) -> httpx.Response:
    """Send these bytes on a connection of their own. Returns the answer; of a stream, only the beginning."""
    parts = urlsplit(base_url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=TIMEOUT_S) as connection:
        with contextlib.suppress(
            ConnectionError
        ):  # the service may refuse before everything is sent; its answer has come already
            connection.sendall(request)
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        streams = answer.getheader("content-type", "").startswith(("application/x-ndjson", "text/event-stream"))
        body = b"" if streams else answer.read()
        answer.close()
    return httpx.Response(answer.status, headers=answer.getheaders(), content=body)


def request(
    base_url: str, method: str, path: str | bytes, headers: Iterable[tuple[str, str | bytes]] = (), body: bytes = b""
) -> httpx.Response:
    """Send a request with exactly this path and these headers, besides Host, Content-Length and Connection."""
    target = path if isinstance(path, bytes) else path.encode("latin-1")
    lines = [b"%b %b HTTP/1.1" % (method.encode(), target), b"Host: %b" % urlsplit(base_url).netloc.encode()]
    named = {name.lower() for name, _ in headers}
    if not named & {"content-length", "transfer-encoding"} and (body or method == "POST"):
        lines.append(b"Content-Length: %d" % len(body))
    lines += [b"%b: %b" % (name.encode(), _bytes(value)) for name, value in headers]
    return send(base_url, b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body, method)


def chunked(body: bytes, size: int = 65_536) -> bytes:
    """Return a body as Transfer-Encoding: chunked sends it."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def json_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")
