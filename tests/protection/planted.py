"""Texts that a test plants wherever content can go, and the search for them in everything that Redis and logs hold."""

import uuid
from collections.abc import Iterable
from typing import Any

from stack.cluster import Stack


class Planted:
    """Texts that are found nowhere else, one for each place."""

    def __init__(self) -> None:
        self._mark = uuid.uuid4().hex[:12]
        self.texts: dict[str, str] = {}

    def __call__(self, place: str) -> str:
        """The text that is planted in this place."""
        return self.texts.setdefault(place, f"planted-{place}-{self._mark}")

    def found_in(self, text: str) -> set[str]:
        """The places whose text is in this one."""
        return {place for place, planted in self.texts.items() if planted in text}

    def found_in_redis(self, client: Any) -> dict[str, set[str]]:
        """Place -> the keys whose names or content hold its text."""
        found: dict[str, set[str]] = {}
        for name in client.scan_iter(count=1000):
            text = f"{name!r} {content_of(client, name)!r}"
            for place in self.found_in(text):
                found.setdefault(place, set()).add(name.decode())
        return found

    def found_in_logs(self, stack: Stack, tolerated: Iterable[str] = ()) -> set[str]:
        """The places whose text a process has logged."""
        logged = "".join(service.log() for service in stack.services)
        return self.found_in(logged) - set(tolerated)


def content_of(client: Any, name: bytes) -> Any:
    """Everything that a key holds."""
    kind = client.type(name)
    if kind == b"string":
        return client.get(name)
    if kind == b"hash":
        return client.hgetall(name)
    if kind == b"list":
        return client.lrange(name, 0, -1)
    if kind == b"set":
        return client.smembers(name)
    if kind == b"zset":
        return client.zrange(name, 0, -1, withscores=True)
    if kind == b"stream":
        return client.xrange(name)
    assert kind == b"none", kind  # it has expired meanwhile
    return None
