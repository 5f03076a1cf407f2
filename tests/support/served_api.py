"""An API in the test's process, behind a real server, with keys and tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.key_file import key_block
from tests.support.served import listening
from turnwire.api.access.identity import Identity, Scope
from turnwire.api.app import create_app
from turnwire.api.edge.client_address import TrustedProxies
from turnwire.api.edge.cors import Origins
from turnwire.api.edge.protocol import for_site
from turnwire.api.services import Services
from turnwire.shared.settings import Settings

TURN_EVENTS = "/v1/sessions/demo/turns/0/events"
BACKEND = {"x-api-key": "tw_backend"}
BLOCKS = [
    key_block("backend", "tw_backend", "default", ["turns", "tokens"]),
    key_block("reader", "tw_reader", "default", ["read"]),
]


class Api:
    """A running API, and what a test needs of it."""

    def __init__(self, services: Services, client: httpx.AsyncClient, key_file: Path) -> None:
        self.services = services
        self.client = client
        self.key_file = key_file

    def token(self, ttl_s: int) -> str:
        tokens = self.services.door.session_tokens
        assert tokens is not None
        return tokens.make(Identity("default", frozenset({Scope.READ}), "backend", session="demo"), ttl_s).token

    async def follow(
        self, headers: dict[str, str], after: str | None = None, accept: str = "application/x-ndjson"
    ) -> AsyncIterator[str]:
        """Read the stream of a turn to its end, line by line."""
        query = {} if after is None else {"after": after}
        async with self.client.stream("GET", TURN_EVENTS, params=query, headers=headers | {"accept": accept}) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for line in answer.aiter_lines():
                yield line


@asynccontextmanager
async def served(settings: Settings, key_file: Path, **changed: Any) -> AsyncIterator[Api]:
    values = {name: getattr(settings, name) for name in settings.__struct_fields__}
    app = create_app(Settings(**values | {"api_keys_file": str(key_file), "token_secret": "t" * 40} | changed))
    async with (
        listening(app, for_site(Origins(None), TrustedProxies(None)), lifespan="on") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client,
    ):
        yield Api(app.state.services, client, key_file)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
