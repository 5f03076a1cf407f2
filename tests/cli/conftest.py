"""An API in the test's process, and the command line that asks it."""

from collections.abc import AsyncIterator

import pytest

from tests.cli.asking import Turnwire, api_of
from turnwire.cli.doctor import speed
from turnwire.shared.settings import Settings


@pytest.fixture
async def url(redis, settings: Settings) -> AsyncIterator[str]:
    async with api_of(settings) as url:
        yield url


@pytest.fixture
def turnwire(url: str) -> Turnwire:
    return Turnwire(url)


@pytest.fixture(autouse=True)
def few_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the doctor measure fewer round trips than for a user."""
    monkeypatch.setattr(speed, "PINGS", 20)
