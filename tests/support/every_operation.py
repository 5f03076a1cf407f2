"""Asks every operation of the API once, so that a new one is asked, too."""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx

from turnwire.api.endpoints.operation import Operation
from turnwire.api.endpoints.routes import OPERATIONS

PAGES: Final = ("/", "/docs", "/openapi.json", "/page/main.js")
METHODS: Final = ("GET", "POST", "DELETE")
AT_ONCE: Final = 16


def ask_all(
    http: httpx.Client, session: str, *, methods: Collection[str] = METHODS, content: bytes = b"{}", **asked: Any
) -> dict[str, str]:
    """Ask all operations of these methods about the first turn of a session, and the pages, with `asked`.

    Returns: the name of each one -> the status, the headers and the body of its answer, but of an endless stream not
    the body.
    """

    def answer(operation: Operation) -> str:
        more: dict[str, Any] = {}
        if operation.method != "GET":
            more = {"content": content, "headers": {**asked.get("headers", {}), "content-type": "application/json"}}
        return _answer(http, operation.method, _path(operation, session), {**asked, **more})

    chosen = [operation for operation in OPERATIONS if operation.method in methods]
    with ThreadPoolExecutor(AT_ONCE) as pool:  # without Redis, each of them is tried for a while
        told = list(pool.map(answer, chosen))
    pages = {path: _answer(http, "GET", path, asked) for path in PAGES}
    return pages | dict(zip((operation.name for operation in chosen), told, strict=True))


def _path(operation: Operation, session: str) -> str:
    names = {"run_id": f"chat:{session}:0", "worker": "host%2F1%2F000000", "project": "none", "tenant": "nobody"}
    return operation.path.format(session=session, index=0, key="approval", user="nobody-known", **names)


def _answer(http: httpx.Client, method: str, path: str, asked: Mapping[str, Any]) -> str:
    with http.stream(method, path, **asked) as answer:
        is_endless = answer.status_code == 200 and path.endswith("/events")
        body = "" if is_endless else answer.read().decode(errors="replace")
        return f"{answer.status_code} {answer.headers} {body}"
