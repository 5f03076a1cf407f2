"""An agent that works in a sandbox elsewhere. It is started once; after a crash, the next worker attaches to it again.

The service of sandboxes answers POST /sandboxes with an id, GET /sandboxes/<id>/output with all lines until the work is
done, and DELETE /sandboxes. The same Idempotency-Key starts no second sandbox, and says which one to delete.

    export SANDBOXES_URL=http://127.0.0.1:9000
    TURNWIRE_HOOKS=examples.sandbox:hooks python3 dev.py
"""

import os
from collections.abc import AsyncIterator
from typing import Any

import httpx

from turnwire import ChatTurnHooks, Turn

LONG = httpx.Timeout(30, read=None)  # a sandbox may be silent for as long as it likes


class SandboxHooks(ChatTurnHooks):
    """Streams what the sandbox of a turn prints."""

    def __init__(self, client: httpx.AsyncClient | None = None) -> None:
        self._given = client

    async def startup(self) -> None:
        """Make the client in the event loop of the worker."""
        self._client = self._given or httpx.AsyncClient(base_url=os.environ["SANDBOXES_URL"], timeout=LONG)

    async def produce(self, turn: Turn) -> AsyncIterator[dict[str, Any]]:
        """Start the sandbox, unless an earlier attempt has, and follow it from its first line.

        Each attempt yields all lines. Those that the client has got already are not sent again.
        """
        sandbox = await turn.step("start", lambda: self._start(turn), kind="tool")
        async with self._client.stream("GET", f"/sandboxes/{sandbox}/output") as output:
            async for line in output.raise_for_status().aiter_lines():
                yield {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": f"{line}\n"}}

    async def on_turn_complete(self, turn: Turn, *_: object) -> None:
        """Remove the sandbox. Until here, the next attempt would attach to it."""
        await self._remove(turn)

    async def on_turn_failed(self, turn: Turn, *_: object) -> None:
        await self._remove(turn)

    async def _start(self, turn: Turn) -> str:
        """Return the sandbox's id. A crash before the checkpoint asks again, with the same key."""
        started = await self._client.post("/sandboxes", json={"task": turn.text}, headers=self._key(turn))
        return str(started.raise_for_status().json()["id"])

    async def _remove(self, turn: Turn) -> None:
        (await self._client.delete("/sandboxes", headers=self._key(turn))).raise_for_status()

    def _key(self, turn: Turn) -> dict[str, str]:
        return {"Idempotency-Key": str(turn.message_id)}


hooks = SandboxHooks()
