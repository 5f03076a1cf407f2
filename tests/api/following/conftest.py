"""What the tests of the feed of a session share."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.devices import NEVER_S
from turnwire.api.following import feed
from turnwire.api.following.feeds import Feeds
from turnwire.shared.store.turns import TurnStore


@pytest.fixture
def by_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a message lets a feed look."""
    monkeypatch.setattr(feed, "LOOK_EVERY_S", NEVER_S)


@pytest.fixture
def feeds(hub: Any, store: TurnStore) -> Feeds:
    return Feeds(hub, store)


@pytest.fixture
async def subscribed(store: TurnStore) -> Callable[[], Any]:
    """Return a condition: the channels of the session and of its open turn are subscribed to."""

    async def both() -> bool:
        return len(await store.redis.pubsub_channels()) >= 2

    return both
