"""A product that uses OpenTelemetry itself, and asks a model. Its `metadata` name the model server, and what fails."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from opentelemetry import trace

from turnwire import ChatTurnHooks, Turn
from turnwire.backends import OpenAIBackend
from turnwire.worker.backends.retry import RetryPolicy

tracer = trace.get_tracer("tests.product")
QUICK = RetryPolicy(initial_backoff_ms=1)


class TracedHooks(ChatTurnHooks):
    """Streams the model's answer in a step, then takes a step in a thread, each with a span of its own."""

    def __init__(self) -> None:
        self._refused: set[str] = set()

    async def produce(self, turn: Turn) -> AsyncGenerator[Any]:
        async with aclosing(turn.stream("answer", lambda: self.ask(turn))) as events:
            async for event in events:
                with tracer.start_as_current_span("between events"):
                    yield event
        await turn.step("look up", look_up, kind="tool")

    async def ask(self, turn: Turn) -> AsyncGenerator[Any]:
        backend = OpenAIBackend(turn.metadata["llm"], None, "tiny", QUICK, tells_trace=True)
        messages = [{"role": "user", "content": turn.message}]
        async with aclosing(backend.ask(turn, messages, options={"temperature": 0.5})) as events:
            async for event in events:
                with tracer.start_as_current_span("inside the step"):
                    pass
                yield event
        await backend.aclose()

    async def persist_assistant_message(self, turn: Turn, final_text: str) -> None:
        """Fail once, so that the outbox persists the answer."""
        if turn.run_id not in self._refused:
            self._refused.add(turn.run_id)
            raise RuntimeError("PLANTED in an error")


def look_up() -> str:
    with tracer.start_as_current_span("product.look_up"):
        return "PLANTED result"


hooks = TracedHooks()
