"""Knows which sessions are followed in this process. Each has one feed, which its followers share."""

from collections.abc import Generator
from contextlib import contextmanager

from turnwire.api.following.change import ChangeCursor
from turnwire.api.following.feed import SessionFeed
from turnwire.api.following.follower import Follower
from turnwire.api.following.hub import Hub
from turnwire.shared.keys import SessionKey
from turnwire.shared.store.turns import TurnStore


class Feeds:
    """The feeds of the sessions that are followed."""

    def __init__(self, hub: Hub, store: TurnStore) -> None:
        self._hub = hub
        self._store = store
        self._feeds: dict[SessionKey, SessionFeed] = {}
        self._stopped = False

    @property
    def followers(self) -> int:
        """How many clients follow sessions."""
        return sum(len(feed.followers) for feed in list(self._feeds.values()))

    @property
    def watched(self) -> int:
        """How many readers of turns in the hub are no clients, but belong to feeds."""
        return sum(feed.watched for feed in list(self._feeds.values()))

    @contextmanager
    def follow(
        self, session: SessionKey, after: ChangeCursor | None, *, idle_s: float | None = None
    ) -> Generator[Follower]:
        """Follow a session after a cursor. With None, from where it stands: its open turns, and its last one.

        `Follower.started` raises NotFound if there is no such session, and StoreUnavailable if Redis does not answer.
        A follower whose start failed with StoreUnavailable may be kept; it starts later.
        """
        feed = self._feeds.get(session)
        if feed is None or feed.has_failed:
            feed = self._feeds[session] = SessionFeed(session, self._store, self._hub)
        follower = Follower(after, idle_s)
        feed.join(follower)
        if self._stopped:
            follower.stop()
        try:
            yield follower
        finally:
            feed.leave(follower)
            if not feed.followers and self._feeds.get(session) is feed:
                del self._feeds[session]
                feed.close()

    def stop(self) -> None:
        """End every follower after a whole event. One that comes later ends at once."""
        self._stopped = True
        for feed in self._feeds.values():
            for follower in feed.followers:
                follower.stop()
