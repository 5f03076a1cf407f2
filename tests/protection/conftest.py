"""A service of real processes that log all they can, and a client of its Redis."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from stack.cluster import Stack
from tests.conformance.conversation import Conversation
from tests.conformance.recorder import Recorder
from tests.protection.planted import Planted

Talk = Callable[[], Conversation]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as listening:
        yield listening


@pytest.fixture
def env(recorder: Recorder) -> dict[str, str]:
    return {
        "TURNWIRE_HOOKS": "tests.protection.product:hooks",
        "TURNWIRE_LEASE_MS": "1000",
        "TURNWIRE_LOG_LEVEL": "debug",
        "PROTECTION_RECORDER": recorder.url,
    }


@pytest.fixture
def stack(tmp_path: Path, env: dict[str, str]) -> Iterator[Stack]:
    with Stack(tmp_path, workers=2, apis=1, env=env) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[Any]:
    assert stack.redis is not None
    with redis.Redis.from_url(stack.redis.url) as connected:
        yield connected


@pytest.fixture
def talk(stack: Stack, recorder: Recorder) -> Iterator[Talk]:
    """Makes conversations, each in a session of its own."""
    with httpx.Client(base_url=stack.base_urls[0], timeout=25, trust_env=False) as http:
        yield lambda: Conversation(http, recorder)


@pytest.fixture
def plant() -> Planted:
    return Planted()
