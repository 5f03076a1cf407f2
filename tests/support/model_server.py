"""The offline model server, in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from stack.model_server import ModelServer


class RunningModelServer:
    """`url`: its base URL. `paid`: the words that were made. Look at `bills` for those of each request."""

    def __init__(self, server: ModelServer, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self._server = server

    @property
    def bills(self) -> list[dict[str, Any]]:
        return self._server.bills

    @property
    def paid(self) -> int:
        return sum(bill["tokens_out"] for bill in self.bills)

    @property
    def trials(self) -> int:
        """How often it was asked whether it keeps answers."""
        return self._server.deletions

    @property
    def idle(self) -> bool:
        """Whether nothing is made."""
        return not self._server.making

    def asked(self, number: int) -> list[str]:
        """Return the texts of the messages of a request."""
        return self._server.asked[number]


@asynccontextmanager
async def running_model_server() -> AsyncIterator[RunningModelServer]:
    server = ModelServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        yield RunningModelServer(server, listening.sockets[0].getsockname()[1])
