"""A collector, and processes that send their spans to it."""

import base64
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stack.cluster import Stack
from tests.support.collector import Collector, collector
from tests.support.scene import SETTINGS, Scene

CALLBACKS = {
    "TURNWIRE_CALLBACK_PRIVATE": "true",
    "TURNWIRE_CALLBACK_SECRET": "whsec_" + base64.b64encode(b"1" * 32).decode(),
}


@pytest.fixture(scope="module")
def collecting() -> Iterator[Collector]:
    with collector() as collecting:
        yield collecting


@pytest.fixture(scope="module")
def traced_stack(tmp_path_factory: pytest.TempPathFactory, collecting: Collector) -> Iterator[Stack]:
    """Run Redis, one API and two workers. Project `traced` has the product of this folder, others that of chaos."""
    directory = tmp_path_factory.mktemp("traces")
    hooks = {"TURNWIRE_HOOKS": "chaos.product:hooks,traced=tests.traces.product:hooks", "TURNWIRE_PERSIST_TRIES": "1"}
    hooks["TURNWIRE_CALLBACK_HOSTS"] = collecting.url.removeprefix("http://")
    env = SETTINGS | CALLBACKS | hooks | collecting.env | {"CHAOS_LEDGER": str(directory / "ledger")}
    with Stack(directory, workers=2, env=env) as stack:
        yield stack


@pytest.fixture
async def view(traced_stack: Stack) -> AsyncIterator[Scene]:
    async with Scene(traced_stack, Path(traced_stack.worker[0].env["CHAOS_LEDGER"])) as view:
        yield view


class Client:
    """The span of a client, under which it asks for a turn."""

    def __init__(self, *, sampled: bool = True) -> None:
        self.trace_id, self.span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.headers = {
            "traceparent": f"00-{self.trace_id}-{self.span_id}-{'01' if sampled else '00'}",
            "tracestate": "vendor=abc",
        }


@pytest.fixture
def client() -> Client:
    return Client()
