"""Reads server-sent events as their standard says, as far as the tests need it."""

import json
from typing import Any

import msgspec


class Event(msgspec.Struct):
    id: str | None = None
    type: str | None = None
    data: Any = None


class Feed(msgspec.Struct):
    """The content of a body: its events, its comments, and how long to wait before connecting again."""

    events: list[Event] = []
    comments: int = 0
    retry_ms: int | None = None


def read(body: bytes) -> Feed:
    """Read a whole body, which must end between two events."""
    assert body.endswith(b"\n\n"), body[-80:]
    feed = Feed()
    for block in body.decode("utf-8").removesuffix("\n\n").split("\n\n"):
        event = Event()
        for line in block.split("\n"):
            field, colon, value = line.partition(":")
            assert colon, block
            value = value.removeprefix(" ")
            match field:
                case "":
                    feed.comments += 1
                case "retry":
                    feed.retry_ms = int(value)
                case "id":
                    event.id = value
                case "event":
                    event.type = value
                case "data":
                    assert event.data is None, block
                    event.data = json.loads(value)
                case _:
                    raise AssertionError(f"unknown field {field!r}")
        if event.data is not None:
            feed.events.append(event)
    return feed
