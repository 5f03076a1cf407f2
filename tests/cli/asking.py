"""Runs commands of `turnwire` in this process, against an API in this process."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from typer.testing import CliRunner, Result

from tests.support.served import listening
from turnwire.api.app import create_app
from turnwire.cli.app import app
from turnwire.shared.settings import Settings
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products


class Turnwire:
    """The command line, with the URL of an API and the credentials of one caller."""

    def __init__(self, url: str, key: str = "") -> None:
        self.env = {"TURNWIRE_URL": url, "TURNWIRE_API_KEY": key, "NO_COLOR": "1", "COLUMNS": "120"}

    async def __call__(self, *words: str, code: int = 0, stdin: str = "", env: dict[str, str] | None = None) -> Result:
        """Run a command, which must end with this exit code. It runs in a thread, as the API needs the event loop."""
        run: Callable[..., Result] = CliRunner().invoke
        result = await asyncio.to_thread(run, app, list(words), input=stdin, env=self.env | (env or {}))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception  # a fault must not pass for a failed command
        assert result.exit_code == code, (words, result.exit_code, result.output, result.exception)
        return result

    async def json(self, *words: str, code: int = 0) -> Any:
        """Run a command with --json. Returns the document that it prints."""
        return json.loads((await self(*words, "--json", code=code)).stdout)


@asynccontextmanager
async def api_of(settings: Settings) -> AsyncIterator[str]:
    """Run an API in this process. Yields its URL."""
    async with listening(create_app(settings), lifespan="on") as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def worker_of(settings: Settings, hooks: Any) -> AsyncIterator[TurnWorker]:
    """Run a worker with these hooks in this process."""
    worker = TurnWorker(settings, Products({None: hooks}))
    main = asyncio.create_task(worker.main())
    try:
        yield worker
    finally:
        worker.drain()
        worker.drain()
        await main
        await worker.close()
