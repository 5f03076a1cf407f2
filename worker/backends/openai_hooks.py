"""The hooks of a worker that was given a model server: they ask it for every turn."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Self

from turnwire.shared.model import TurnError
from turnwire.shared.settings import Settings
from turnwire.worker.backends.openai import OpenAIBackend
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.turn.turn import Turn


class OpenAIHooks(ChatTurnHooks):
    """The hooks of a worker that was given a model server: they send the history and the message to the model."""

    def __init__(self, backend: OpenAIBackend) -> None:
        self._backend = backend

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make hooks that ask the server of `TURNWIRE_LLM_BASE_URL`.

        Raises:
            SettingsError: there is no such URL, or an `llm_*` setting makes no sense.
        """
        return cls(OpenAIBackend.from_settings(settings))

    @property
    def continues_answers(self) -> bool:  # type: ignore[override]  # a model server may be able to, or not
        """Whether the model goes on with the text that an attempt had streamed before its worker died."""
        return self._backend.continues_answers

    async def produce(self, turn: Turn) -> AsyncGenerator[dict[str, Any]]:
        """Stream the model's answer. If the client named a `model`, that one is asked.

        Raises:
            BackendTransportError: the model server did not give a whole answer.
        """
        messages = [*turn.history(), {"role": "user", "content": turn.message}]
        answer = self._backend.ask(turn, messages, options=turn.options, begun=turn.partial_events)
        async with aclosing(answer) as events:
            async for event in events:
                yield event

    async def on_turn_failed(self, turn: Turn, error: TurnError, partial_text: str) -> None:  # noqa: ARG002
        """Let the server stop an answer that it goes on with by itself, although the turn has ended."""
        await self._backend.stop(turn)

    async def aclose(self) -> None:
        """Close the connections to the model server."""
        await self._backend.aclose()
