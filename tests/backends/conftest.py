import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from asking import QUICK, Asking
from rawserver import RawServer, raw_server
from serverprocess import free_port, wait_for_http

from worker.backends.openai import OpenAIBackend
from worker.backends.retry import RetryPolicy

LLMOCK = "from llmock.cli import app; app()"


@pytest.fixture
async def raw() -> AsyncIterator[RawServer]:
    async with raw_server() as server:
        yield server


@pytest.fixture
async def ask() -> AsyncIterator[Callable[..., Asking]]:
    """Makes an Asking of a backend at this URL; the backends are closed at the end."""
    async with contextlib.AsyncExitStack() as stack:

        def make(url: str, policy: RetryPolicy = QUICK, api_key: str | None = "sk-secret") -> Asking:
            backend = OpenAIBackend(url, api_key, "tiny", policy)
            stack.push_async_callback(backend.aclose)
            return Asking(backend)

        yield make


class Llmock:
    """A running `llmock serve`, scripted and asked for its verdict over its control API."""

    def __init__(self, root: str) -> None:
        self.url = f"{root}/v1"
        self.admin = httpx.Client(base_url=f"{root}/_llmock", trust_env=False)

    def script(self, *behaviors: dict[str, Any]) -> None:
        self.admin.post("/scenario", json={"behaviors": list(behaviors)}).raise_for_status()

    def requests(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.admin.get("/requests").json()["requests"]
        return found

    def assert_clean(self) -> None:
        verdict = self.admin.get("/verdict").json()
        assert verdict["findings"] == [], self.admin.get("/verdict", params={"format": "text"}).text


@pytest.fixture(scope="session")
def llmock_process() -> Iterator[Llmock]:
    port = free_port()
    command = [sys.executable, "-c", LLMOCK, "serve", "-p", str(port), "--log-level", "warning"]
    environ = {**os.environ, "LLMOCK_RESPONSE_STYLE": "echo"}
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) as process:
        server = Llmock(f"http://127.0.0.1:{port}")
        try:
            wait_for_http(process, f"http://127.0.0.1:{port}/health")
            yield server
        finally:
            server.admin.close()
            process.kill()


@pytest.fixture
def llmock_server(llmock_process: Llmock) -> Llmock:
    llmock_process.admin.post("/reset").raise_for_status()
    return llmock_process
