"""What the hooks of all frameworks do if the models of their agent ask with a backend of Turnwire."""

import asyncio
from typing import Any

from turnwire import ChatTurnHooks, Turn
from turnwire.agents.model_step import request_name
from turnwire.backends import OpenAIBackend


class BackendHooks(ChatTurnHooks):
    """Hooks of an agent. `backend`: the one that its models ask with, by `sdk_client`; None: they ask without one."""

    def __init__(self, backend: OpenAIBackend | None) -> None:
        self._backend = backend

    @property
    def continues_answers(self) -> bool:  # type: ignore[override]  # a backend may be able to, or not
        """Whether a model goes on with the text that an attempt had streamed before its worker died."""
        return self._backend is not None and self._backend.continues_answers

    async def on_turn_failed(self, turn: Turn, error: Any, partial_text: str) -> None:  # noqa: ARG002
        """Let the server stop an answer that it goes on with by itself, although the turn has ended."""
        if self._backend is None or not self.continues_answers:
            return
        # No request after the one that broke off has begun, and each request before it has counted at least one call.
        names = [request_name(number) for number in range(1, turn.usage.model_calls + 2)]
        await asyncio.gather(*(self._backend.stop(turn, name=name) for name in names))
