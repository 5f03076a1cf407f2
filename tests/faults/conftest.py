"""Processes that the tests of a module share. Tests that break Redis itself, or count workers, start their own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stack.cluster import Stack
from tests.support.failover import Pair
from tests.support.scene import SETTINGS, Scene


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """A primary and its replica, for tests that fail over."""
    async with Pair(tmp_path) as pair:
        yield pair


@pytest.fixture(scope="module")
def module_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def product() -> dict[str, str]:
    """Return more settings for a module's processes. Their default product is that of chaos."""
    return {}


@pytest.fixture(scope="module")
def shared_stack(module_directory: Path, product: dict[str, str]) -> Iterator[Stack]:
    """Run Redis, one API and one worker."""
    env = SETTINGS | product | {"CHAOS_LEDGER": str(module_directory / "ledger")}
    with Stack(module_directory, workers=1, env=env) as stack:
        yield stack


@pytest.fixture
async def view(shared_stack: Stack, module_directory: Path) -> AsyncIterator[Scene]:
    """Return the module's processes, with an empty Redis, so that a failed test does not make the next one fail."""
    async with Scene(shared_stack, module_directory / "ledger") as view:
        await view.redis.flushall()
        yield view
