"""Serves everybody in this process who follows a turn, over one pub/sub connection.

Each followed turn has one channel, which its readers share. The hub passes on what arrives there. Each reader decides
by its own cursor whether it can use that (tail.py), and the readers of a turn share their reads of its log (topic.py).
"""

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from redis.asyncio import Redis

from turnwire.api.following.encode import NDJSON, SSE, SSE_DATA, Encoder, Framing
from turnwire.api.following.ending import EndWaiter
from turnwire.api.following.listener import Listener
from turnwire.api.following.publication import ERASED, Publication
from turnwire.api.following.tail import Tail
from turnwire.api.following.topic import Reader, Topic
from turnwire.shared.channels import ENDED
from turnwire.shared.errors import ContentUnreadable
from turnwire.shared.events import Cursor
from turnwire.shared.keys import TurnKey
from turnwire.shared.store.connect import disconnect
from turnwire.shared.store.turns import TurnStore

BUFFER_BYTES: Final = 262_144  # the size of each reader's inbox; the readers of a turn share the publications in it
R = TypeVar("R", bound=Reader)
SILENCE_S: Final = 5.0  # a turn without an event for this long is checked, once for all its readers

logger = logging.getLogger(__name__)


def _ignore() -> None:
    """Do nothing. This is the default of `on_crash`."""


class Joined(Generic[R]):
    """The context manager of a reader of a turn. It has slots, because an API holds thousands of them."""

    __slots__ = ("_hub", "_reader", "_topic")

    def __init__(self, hub: "Hub", topic: Topic, reader: R) -> None:
        self._hub = hub
        self._topic = topic
        self._reader = reader

    def __enter__(self) -> R:
        self._hub.join(self._topic, self._reader)
        return self._reader

    def __exit__(self, *_: object) -> None:
        self._hub.leave(self._topic, self._reader)


class Hub:
    """An async context manager. Its tasks live inside the block. `on_crash` is called when a defect ends the listening.

    `buffer_bytes`: the size of each reader's inbox. `silence_s`: see SILENCE_S.
    """

    def __init__(
        self,
        listener: Redis,
        store: TurnStore,
        *,
        buffer_bytes: int = BUFFER_BYTES,
        silence_s: float = SILENCE_S,
        on_crash: Callable[[], None] = _ignore,
    ) -> None:
        self._redis = listener
        self._store = store
        self._deployment = store.settings.deployment_name
        self._buffer_bytes = buffer_bytes
        self._silence_s = silence_s
        self._on_crash = on_crash
        self._listener = Listener(listener, self._on_message, self._on_subscribed)
        self._topics: dict[str, Topic] = {}
        self._others: dict[str, Callable[[bytes | None], None]] = {}  # channels that are no turn's
        self._encoders = {framing: Encoder(framing) for framing in (NDJSON, SSE, SSE_DATA)}
        self._group = asyncio.TaskGroup()
        self._pump: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def topics(self) -> int:
        """How many turns are followed."""
        return len(self._topics)

    @property
    def readers(self) -> int:
        """How many readers follow them."""
        return sum(len(topic.readers) for topic in list(self._topics.values()))

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._pump = self._group.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for topic in self._topics.values():
            topic.close()
        if self._pump:
            self._pump.cancel()
        await self._group.__aexit__(kind, error, trace)
        await disconnect(self._redis)

    def follow(
        self, key: TurnKey, after: Cursor | None, *, idle_s: float | None = None, is_new: bool = False
    ) -> "Joined[Tail]":
        """Follow a turn's events after a cursor (None: from the first event); see Tail for `idle_s`.

        `is_new`: the turn was made a moment ago. Most likely even its first event arrives as a publication, so its log
        is not read at once.
        """
        topic = self._topic(key)
        is_new = is_new and not topic.readers  # others follow it already, so events may have come before
        tail = Tail(after, ask=topic.ask, buffer_bytes=self._buffer_bytes, idle_s=idle_s, is_behind=not is_new)
        if is_new:
            topic.expect_first(tail)
        return Joined(self, topic, tail)

    def watch(self, key: TurnKey) -> "Joined[EndWaiter]":
        """Wait for the end of a turn without reading its events."""
        return Joined(self, self._topic(key), EndWaiter(key, self._store))

    def listen(self, key: TurnKey, reader: Reader) -> "Joined[Reader]":
        """Let a reader of another kind hear what happens to a turn."""
        return Joined(self, self._topic(key), reader)

    def on(self, channel: str, call: Callable[[bytes | None], None]) -> None:
        """Call `call` with each message of a channel that is no turn's, and with None if some may have been missed."""
        self._others[channel] = call
        self._listener.subscribe(channel)

    def off(self, channel: str) -> None:
        """Leave such a channel."""
        del self._others[channel]
        self._listener.unsubscribe(channel)

    def encoder(self, framing: Framing) -> Encoder:
        """The encoder that all readers of this framing share, so that a batch is encoded once for all of them."""
        return self._encoders[framing]

    def stop(self) -> None:
        """End every reader after a whole event. A reader that comes later ends at once."""
        self._stopped = True
        for topic in self._topics.values():
            for reader in topic.readers:
                reader.stop()

    def _topic(self, key: TurnKey) -> Topic:
        channel = key.channel(self._deployment)
        topic = self._topics.get(channel)
        if topic is None:
            topic = self._topics[channel] = Topic(key, self._store, self._group, self._silence_s)
            self._listener.subscribe(channel)
        return topic

    def join(self, topic: Topic, reader: Reader) -> None:
        """Let a reader hear what happens to the turn of a topic. It must leave; see Joined."""
        topic.readers.add(reader)
        if self._stopped:
            reader.stop()

    def leave(self, topic: Topic, reader: Reader) -> None:
        """End what `join` began. A topic without readers is closed."""
        topic.readers.discard(reader)
        if not topic.readers:
            topic.close()
            channel = topic.key.channel(self._deployment)
            del self._topics[channel]
            self._listener.unsubscribe(channel)

    async def _listen(self) -> None:
        try:
            await self._listener.run()
        except Exception:
            logger.critical("the hub crashed", exc_info=True)
            self._on_crash()
            raise

    def _on_message(self, channel: str, payload: bytes) -> None:
        topic = self._topics.get(channel)
        if topic is None:
            if other := self._others.get(channel):
                other(payload)
            return
        if payload == ERASED:
            topic.erased()
        elif payload == ENDED:
            topic.read_again()
        elif publication := Publication.parse(payload):
            self._arrived(topic, publication)
        else:
            logger.debug("skipped a message on %s that is not a publication: %d bytes", channel, len(payload))

    def _arrived(self, topic: Topic, publication: Publication) -> None:
        open_event = self._store.open_event
        if open_event is not None:  # once for all readers of the turn
            try:
                publication = publication.opened(lambda event: open_event(topic.key, event))
            except ContentUnreadable:
                return  # the readers notice the gap, and what they read then says the same
        topic.arrived(publication)

    def _on_subscribed(self, channel: str) -> None:
        if topic := self._topics.get(channel):
            topic.subscribed()
        elif other := self._others.get(channel):
            other(None)
