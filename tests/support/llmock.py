"""A running `llmock serve`. Tests script it, and ask for its verdict, over its control API."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from stack.network import answers, free_port
from stack.process import Service

LLMOCK = "from llmock.cli import app; app()"
START_LIMIT_S = 30.0


class Llmock:
    """The running server. `url` is the value for TURNWIRE_LLM_BASE_URL."""

    def __init__(self, root: str) -> None:
        self.url = f"{root}/v1"
        self.admin = httpx.Client(base_url=f"{root}/_llmock", trust_env=False)

    def reset(self) -> None:
        self.admin.post("/reset").raise_for_status()

    def script(self, *behaviors: dict[str, Any]) -> None:
        self.admin.post("/scenario", json={"behaviors": list(behaviors)}).raise_for_status()

    def requests(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.admin.get("/requests").json()["requests"]
        return found

    def assert_clean(self) -> None:
        verdict = self.admin.get("/verdict").json()
        assert verdict["findings"] == [], self.admin.get("/verdict", params={"format": "text"}).text


@contextmanager
def running_llmock(directory: Path) -> Iterator[Llmock]:
    """Run it as a process. It repeats what it was asked, unless it is scripted."""
    port = free_port()
    argv = [sys.executable, "-c", LLMOCK, "serve", "-p", str(port), "--log-level", "warning"]
    environ = {**os.environ, "LLMOCK_RESPONSE_STYLE": "echo"}
    process = Service("llmock", argv, environ, directory / "llmock.log").start()
    try:
        root = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: answers(f"{root}/health"), START_LIMIT_S)
        server = Llmock(root)
        yield server
        server.admin.close()
    finally:
        process.kill()
