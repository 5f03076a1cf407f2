"""Answers without a model, for a first look. It needs no key and no network, and its text is always the same."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

from turnwire.shared.errors import SettingsError
from turnwire.shared.model import ModelCall
from turnwire.worker.backends.answer import text_delta
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.turn.turn import Turn

_QUOTED_CHARACTERS: Final = 60


class DemoHooks(ChatTurnHooks):
    """The hooks of a worker that was given neither hooks nor a model server.

    `delay_ms` is the pause between two words, in milliseconds. The default is long enough to see a stream, and to kill
    a worker in the middle of one. The reported call has unknown tokens, because words are not tokens.

    Raises:
        SettingsError: `delay_ms` is negative.
    """

    def __init__(self, delay_ms: int = 60) -> None:
        if delay_ms < 0:
            raise SettingsError(f"delay_ms must not be negative, but is {delay_ms}")
        self._delay_s = delay_ms / 1000

    async def produce(self, turn: Turn) -> AsyncGenerator[dict[str, Any]]:
        """Stream a short answer word by word."""
        words = demo_answer(turn.text, len(turn.history()) // 2).split(" ")
        for position, word in enumerate(words):
            if position:
                await asyncio.sleep(self._delay_s)
            yield text_delta(f" {word}" if position else word)
        turn.usage.add(ModelCall("demo", finish_reason="stop"))


def demo_answer(message: str, earlier_turns: int) -> str:
    """Return the demo's answer to `message` in a session that has `earlier_turns` completed turns."""
    quoted = " ".join(message.split())
    if len(quoted) > _QUOTED_CHARACTERS:
        quoted = quoted[: _QUOTED_CHARACTERS - 1] + "…"
    remembered = {0: "no earlier turn", 1: "1 earlier turn"}.get(earlier_turns, f"{earlier_turns} earlier turns")
    return (
        f"You said: “{quoted}”. This is the demo backend, which remembers {remembered} of this session. "
        "Kill the worker while I speak and another one will finish this answer. "
        "Set TURNWIRE_LLM_BASE_URL to hear a real model."
    )
