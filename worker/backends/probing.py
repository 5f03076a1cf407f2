"""Finds out how a model server goes on with answers, by trying, once for each model. It asks a few tokens for that.

It is never tried on a conversation, because a server that does not know how starts its answer over.
"""

import asyncio
import logging
from typing import Final

from turnwire.shared.events import PART_UPDATED
from turnwire.worker.backends.answer import StreamedAnswer
from turnwire.worker.backends.continuation import in_mode
from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.backends.exchange import Asked, ChatExchange
from turnwire.worker.backends.quirks import Continue, Quirks

logger = logging.getLogger(__name__)

PROBE_S: Final = 15.0
_MODES: Final[tuple[Continue, ...]] = ("prefill", "flags", "prefix")
_QUESTION: Final = "Say exactly this: one two three four five six"
_BEGUN: Final = "one two three"
_REFUSED: Final = (400, 404, 405, 422)


class Modes:
    """What was found about the models of one server. This process keeps it as long as it lives."""

    def __init__(self) -> None:
        self.known: dict[str, Continue] = {}
        self._trying: dict[str, asyncio.Lock] = {}

    async def of(self, exchange: ChatExchange, model: str) -> Continue:
        """Return how this model goes on with an answer; `off` if it does not, or as long as that is not known."""
        if model not in self.known:
            async with self._trying.setdefault(model, asyncio.Lock()):
                if model not in self.known:
                    await self._try(exchange, model)
        return self.known.get(model, "off")

    async def _try(self, exchange: ChatExchange, model: str) -> None:
        try:
            async with asyncio.timeout(PROBE_S):
                self.known[model] = await _found(exchange, model)
        except (BackendTransportError, TimeoutError) as error:
            logger.warning("it cannot be told yet whether %r goes on with answers: %s", model, error)
            return
        logger.info("the model %r goes on with answers by: %s", model, self.known[model])


async def _found(exchange: ChatExchange, model: str) -> Continue:
    if await exchange.keeps_answers():
        return "llama-stream"
    for mode in _MODES:
        if (await _rest(exchange, model, mode)).lower().lstrip(" ,.").startswith("four"):
            return mode
    return "off"


async def _rest(exchange: ChatExchange, model: str, mode: Continue) -> str:
    request = {
        "model": model,
        "messages": [{"role": "user", "content": _QUESTION}],
        "temperature": 0,
        "max_tokens": 4,
        "stream": True,
    }
    answer = StreamedAnswer("probe", Quirks())
    asked = Asked(in_mode(request, _BEGUN, mode), "/trial", "a trial")
    try:
        events = [event async for event in exchange.ask(asked, answer)]
    except BackendTransportError as refusal:
        if refusal.status not in _REFUSED:
            raise
        return ""
    return "".join(event["data"]["delta"] for event in events if event["type"] == PART_UPDATED)
