"""The service under test: the one at TURNWIRE_CONFORMANCE_URL, else one of the suite's own. See README.md."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from stack.cluster import Stack
from tests.conformance.conversation import Conversation
from tests.conformance.description import Description
from tests.conformance.recorder import Recorder

HERE: Final = Path(__file__).parent
OWN_SERVICE: Final = {
    "TURNWIRE_HOOKS": "product:hooks",
    "PYTHONPATH": str(HERE),
    "TURNWIRE_LEASE_MS": "2000",
    "TURNWIRE_PRICES_FILE": str(HERE / "prices.toml"),
}


@pytest.fixture(scope="session")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack | None]:
    """A real Redis, API and worker; None when the suite is pointed at another service."""
    if os.environ.get("TURNWIRE_CONFORMANCE_URL"):
        yield None
        return
    with Stack(tmp_path_factory.mktemp("conformance"), workers=2, env=OWN_SERVICE) as stack:
        yield stack
        assert "Traceback" not in stack.api[0].log(), stack.api[0].log()  # no request of a test may cause one


@pytest.fixture
def ours(own_stack: Stack | None) -> Stack:
    """Return the suite's own processes."""
    if own_stack is None:
        pytest.skip("this test needs the suite's own processes, but TURNWIRE_CONFORMANCE_URL names another service")
    return own_stack


@pytest.fixture
def second_api(ours: Stack, tmp_path: Path) -> Iterator[Stack]:
    """Run another API process on the same Redis, which a test may stop."""
    with Stack(tmp_path, workers=0, apis=1, env=OWN_SERVICE, redis=ours.redis) as stack:
        yield stack


@pytest.fixture(scope="session")
def base_url(own_stack: Stack | None) -> str:
    return own_stack.base_urls[0] if own_stack else os.environ["TURNWIRE_CONFORMANCE_URL"].rstrip("/")


@pytest.fixture(scope="session")
def recorder() -> Iterator[Recorder]:
    host, _, port = os.environ.get("TURNWIRE_CONFORMANCE_RECORDER", "127.0.0.1:0").rpartition(":")
    with Recorder(host, int(port)) as listening:
        yield listening


@pytest.fixture(scope="session")
def described(own_stack: Stack | None) -> Any:
    """Return a hook that checks every answer against the description; None for a service that has none."""
    if own_stack is None:
        return None
    return Description(httpx.get(f"{own_stack.base_urls[0]}/openapi.json", trust_env=False).json()).check


@pytest.fixture(scope="session")
def make_http(described: Any) -> Iterator[Callable[[str], httpx.Client]]:
    clients = []

    def make(url: str) -> httpx.Client:
        key = os.environ.get("TURNWIRE_CONFORMANCE_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=None)
        hooks = {"response": [described]} if described else {}
        clients.append(
            httpx.Client(base_url=url, headers=headers, timeout=25, trust_env=False, limits=limits, event_hooks=hooks)
        )
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def http(base_url: str, make_http: Callable[[str], httpx.Client]) -> httpx.Client:
    return make_http(base_url)


@pytest.fixture
def chat(http: httpx.Client, recorder: Recorder) -> Conversation:
    return Conversation(http, recorder)


@pytest.fixture
def other_chat(http: httpx.Client, recorder: Recorder) -> Conversation:
    return Conversation(http, recorder)
