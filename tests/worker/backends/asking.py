"""Asks a backend one question and keeps everything that came of it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from tests.support.model_server import RunningModelServer
from turnwire.shared.events import PART_UPDATED
from turnwire.shared.model import ModelCall
from turnwire.worker.backends.openai import OpenAIBackend
from turnwire.worker.backends.quirks import Quirks
from turnwire.worker.backends.retry import RetryPolicy

QUESTION = [{"role": "user", "content": "Is this ünïcode?"}]
QUICK = RetryPolicy(initial_backoff_ms=10, max_backoff_ms=20, request_timeout_ms=5_000, idle_timeout_ms=5_000)


def backend_of(server: RunningModelServer, mode: Any) -> OpenAIBackend:
    """Return a backend that goes on with the server's answers in this mode."""
    below = {"flags": "/flags/v1", "prefix": "/prefix/v1"}.get(mode, "/v1")
    return OpenAIBackend(server.url.removesuffix("/v1") + below, None, "m", QUICK, quirks=Quirks(continues=mode))


class Asking:
    def __init__(self, backend: OpenAIBackend) -> None:
        self.backend = backend
        self.events: list[dict[str, Any]] = []
        self.calls: list[ModelCall] = []

    @property
    def text(self) -> str:
        return "".join(event["data"]["delta"] for event in self.events if event["type"] == PART_UPDATED)

    def data(self, event_type: str) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events if event["type"] == event_type]

    async def run(self, *, model: str | None = None) -> "Asking":
        stream = self.backend.stream(QUESTION, model=model, idempotency_key="chat:s:0/1", on_call=self.calls.append)
        async with aclosing(stream) as events:
            async for event in events:
                self.events.append(event)
        return self


async def collect(answer: AsyncGenerator[dict[str, Any]], events: list[dict[str, Any]]) -> None:
    """Append the events of an answer to a list, at which others look meanwhile."""
    async with aclosing(answer) as stream:
        async for event in stream:
            events.append(event)  # noqa: PERF401 - a comprehension would append them all at its end


async def wait_until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - the one place that polls
            await asyncio.sleep(0.005)
