"""An API that asks for credentials, on a Redis of its own, without workers: its turns stay as they were asked."""

from collections.abc import Iterator

import httpx
import pytest

from stack.cluster import Stack
from tests.access.world import Caller, callers, settings


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("guarded")
    with Stack(directory, workers=0, env=settings(directory)) as stack:
        yield stack
        log = stack.api[0].log()
        assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def http(guarded: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded.base_urls[0], timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def everybody(http: httpx.Client) -> list[Caller]:
    return callers(http)
