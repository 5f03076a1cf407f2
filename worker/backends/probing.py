"""Finds out how a model server goes on with answers, by trying, once for each model. It asks a few tokens for that.

What it finds is kept for all workers. It is never tried on a conversation, because a server that does not know how
starts its answer over.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from typing import Final

from turnwire.shared.events import PART_UPDATED
from turnwire.shared.store.findings import Findings
from turnwire.worker.backends.answer import StreamedAnswer
from turnwire.worker.backends.continuation import in_mode, is_echo
from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.backends.exchange import Asked, ChatExchange
from turnwire.worker.backends.quirks import Continue, Quirks

logger = logging.getLogger(__name__)

PROBE_S: Final = 15.0
BELIEVED_S: Final = 60.0  # a process looks again so often at what the workers have found
KEPT_S: Final = 21_600  # all workers together try a model again after so many seconds,
KEPT_OFF_S: Final = 3600  # and after so many if it has not gone on
_MODES: Final[tuple[Continue, ...]] = ("prefill", "flags", "prefix")
_FOUND: Final[frozenset[Continue]] = frozenset({"off", "llama-stream", *_MODES})
_QUESTION: Final = "Say exactly this: one two three four five six"
_BEGUN: Final = "one two three"
_REFUSED: Final = (400, 404, 405, 422)


class Modes:
    """What is known about the models of one server, whose URL is `url`.

    The workers tell each other what they have found. A process believes it for a minute, and then looks again, so that
    it also learns that a finding was wrong. While Redis does not answer, it keeps what it knows.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.known: dict[str, Continue] = {}
        self._url = url
        self._clock = clock
        self._until_s: dict[str, float] = {}
        self._trying: dict[str, asyncio.Lock] = {}

    async def of(self, exchange: ChatExchange, model: str, findings: Findings | None) -> Continue:
        """Return how this model goes on with an answer; `off` if it does not, or as long as that is not known.

        `findings`: of all workers; None: only this process is asked.
        """
        if not self._is_believed(model):
            async with self._trying.setdefault(model, asyncio.Lock()):
                if not self._is_believed(model):
                    await self._find(exchange, model, findings)
        return self.known.get(model, "off")

    async def replace(self, model: str, mode: Continue, findings: Findings | None) -> None:
        """Keep another finding, for all workers."""
        kept_s = KEPT_OFF_S if mode == "off" else KEPT_S
        self._believe(model, mode, kept_s if findings is None else BELIEVED_S)
        if findings is not None:
            await findings.keep(self._name(model), mode, kept_s)

    async def forget(self, model: str, findings: Findings | None) -> None:
        """Throw the finding away, for all workers."""
        self._until_s.pop(model, None)
        if findings is not None:
            await findings.forget(self._name(model))

    def _is_believed(self, model: str) -> bool:
        return self._clock() < self._until_s.get(model, 0.0)

    def _believe(self, model: str, mode: Continue, for_s: float) -> None:
        self.known[model], self._until_s[model] = mode, self._clock() + for_s

    def _name(self, model: str) -> str:
        """Return the name of the finding. A digest, because a URL may hold a secret."""
        return hashlib.sha256(f"{self._url}\n{model}".encode()).hexdigest()

    async def _find(self, exchange: ChatExchange, model: str, findings: Findings | None) -> None:
        found = "" if findings is None else await findings.read(self._name(model))
        if found is None and model in self.known:
            found = self.known[model]
        mode = next((mode for mode in _FOUND if mode == found), None)  # another version may know other words
        if mode is not None:
            self._believe(model, mode, BELIEVED_S)
        else:
            await self._try(exchange, model, findings)

    async def _try(self, exchange: ChatExchange, model: str, findings: Findings | None) -> None:
        try:
            async with asyncio.timeout(PROBE_S):
                mode = await _found(exchange, model)
        except (BackendTransportError, TimeoutError) as error:
            logger.warning("it cannot be told yet whether %r goes on with answers: %s", model, error)
            return
        logger.info("the model %r goes on with answers by: %s", model, mode)
        await self.replace(model, mode, findings)


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
    pieces = [event["data"]["delta"] for event in events if event["type"] == PART_UPDATED]
    if is_echo(pieces[:1], _BEGUN):
        pieces = pieces[1:]
    return "".join(pieces)
