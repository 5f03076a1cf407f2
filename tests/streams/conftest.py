"""One API process for each module, and no worker: the tests write the logs themselves."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stack.cluster import Stack
from tests.support.observed import STALL_S, Observed


@pytest.fixture(scope="module")
def api_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if not Path("/proc/self/fd").exists():
        pytest.skip("these tests look at processes through /proc")
    with Stack(tmp_path_factory.mktemp("streams"), workers=0, apis=1) as stack:
        yield stack
        assert "Traceback" not in stack.api[0].log(), stack.api[0].log()


@pytest.fixture
async def service(api_stack: Stack) -> AsyncIterator[Observed]:
    async with Observed(api_stack) as observed:
        yield observed


@pytest.fixture
async def impatient(api_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Observed]:
    """Run an API process of the test's own, which cuts off stalled clients early."""
    directory = tmp_path_factory.mktemp("impatient")
    with Stack(directory, workers=0, env={"TURNWIRE_STALL_S": str(STALL_S)}, redis=api_stack.redis) as stack:
        async with Observed(stack) as observed:
            yield observed
