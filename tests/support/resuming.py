"""Readers that are cut off where the test says, and resume at their last cursor, at the same API process or another."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import msgspec

from chaos.client import TERMINAL_TYPES, Line
from tests.support.waiting import let_pass, wait_until

RETRY_S = 0.05
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"


class Cut(msgspec.Struct, frozen=True):
    """One connection: after how many lines it is cut, its format, and the API process that it goes to."""

    lines: int
    form: str = NDJSON
    api: int = 0


class Resuming:
    """A reader that goes through the cuts, then reads to the end. A `paused` one reconnects when the test lets it."""

    def __init__(self, base_urls: Sequence[str], path: str, cuts: Sequence[Cut], *, form: str = NDJSON) -> None:
        self.lines: list[Line] = []
        self.is_cut = False  # whether all its cuts have happened
        self.may_return = True
        self._urls = [f"{url}{path}/events" for url in base_urls]
        self._cuts = list(cuts)
        self._form = form

    async def run(self, client: httpx.AsyncClient) -> list[Line]:
        """Return every line of every connection."""
        for cut in self._cuts:
            await self._connect(client, cut)
        self.is_cut = True
        await wait_until(lambda: self.may_return, "it may come back", 30)
        last = Cut(1_000_000, self._form, len(self._cuts))
        while not self._ended:
            await self._connect(client, last)
        return self.lines

    @property
    def _ended(self) -> bool:
        return bool(self.lines) and self.lines[-1]["type"] in TERMINAL_TYPES

    async def _connect(self, client: httpx.AsyncClient, cut: Cut) -> None:
        if self._ended:
            return
        url, headers, params = self._urls[cut.api % len(self._urls)], {"Accept": cut.form}, {}
        if self.lines and cut.form == SSE:
            headers["Last-Event-ID"] = self.lines[-1]["id"]
        elif self.lines:
            params["after"] = self.lines[-1]["id"]
        try:
            async with client.stream("GET", url, headers=headers, params=params) as response:
                assert response.status_code == 200, (response.status_code, await response.aread(), self.lines[-1:])
                left = cut.lines
                async for line in events(response):
                    self.lines.append(line)
                    left -= 1
                    if left <= 0 or self._ended:
                        return
        except httpx.TransportError:
            await let_pass(RETRY_S)  # that process is gone: try the next one, or wait until this one is back


async def events(response: httpx.Response) -> AsyncIterator[Line]:
    """Return the events of a stream in either format, as NDJSON lines."""
    is_sse = response.headers["content-type"] == SSE
    event_id: Any = None
    async for text in response.aiter_lines():
        if not is_sse:
            yield json.loads(text)
        elif text.startswith("id: "):
            event_id = text[4:]
        elif text.startswith("data: "):
            yield {"id": event_id, **json.loads(text[6:])}
