import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from tests.support.llmock import Llmock, running_llmock
from tests.worker.backends.asking import QUICK, Asking
from tests.worker.backends.rawserver import RawServer, raw_server
from turnwire.worker.backends.openai import OpenAIBackend
from turnwire.worker.backends.retry import RetryPolicy


@pytest.fixture
async def raw() -> AsyncIterator[RawServer]:
    async with raw_server() as server:
        yield server


@pytest.fixture
async def ask() -> AsyncIterator[Callable[..., Asking]]:
    """Makes an Asking of a backend at this URL; the backends are closed at the end."""
    async with contextlib.AsyncExitStack() as stack:

        def make(url: str, policy: RetryPolicy = QUICK, api_key: str | None = "sk-secret") -> Asking:
            backend = OpenAIBackend(url, api_key, "tiny", policy)
            stack.push_async_callback(backend.aclose)
            return Asking(backend)

        yield make


@pytest.fixture(scope="session")
def llmock_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llmock]:
    with running_llmock(tmp_path_factory.mktemp("llmock")) as server:
        yield server


@pytest.fixture
def llmock_server(llmock_process: Llmock) -> Llmock:
    llmock_process.reset()
    return llmock_process
