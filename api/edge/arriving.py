"""The bodies that are on their way, and the memory that they take together.

Each of many clients may send a body that is almost complete, and then wait. When all of these bodies together take too
much, the oldest one is refused: a body that is sent without a pause arrives long before it is the oldest.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

from starlette.types import Message, Receive

from turnwire.api.edge.problems import RequestTimeout

ARRIVING_BYTES: Final = 4_194_304  # the default of TURNWIRE_MAX_ARRIVING_BYTES
LARGEST: Final = 4  # so many bodies of the largest size may always arrive side by side


class Body:
    """One body. It keeps its parts itself, so that a refused one frees them at once, whoever still refers to it."""

    def __init__(self, bodies: "Bodies", max_bytes: int) -> None:
        self.size = 0
        self._parts: list[bytes] = []
        self._bodies = bodies
        self._max_bytes = max_bytes
        self._patience: asyncio.Timeout | None = None  # while it waits for its next part
        self._refused = False

    def add(self, message: Message) -> None:
        """Keep the part that a message of ASGI brings.

        Raises:
            RequestTimeout: this is the oldest body, and all together take too much memory.
        """
        part = message.pop("body", b"")
        if not self._refused:
            self._parts.append(part)
            self._bodies.grown(self, len(part), self._max_bytes)
        if self._refused:
            raise RequestTimeout("the body took too long to arrive while many others arrive")

    async def receive(self, receive: Receive) -> Message:
        """Wait for the next message of ASGI, and keep its part. Returns the rest of the message.

        Raises:
            RequestTimeout: as of `add`.
        """
        message: Message = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as self._patience:
                message = await receive()
        self._patience = None
        self.add(message)
        return message

    def whole(self) -> bytes:
        """Return what has arrived."""
        return b"".join(self._parts)

    def drop(self) -> None:
        """Free the memory of all parts."""
        self._parts.clear()

    def refuse(self) -> None:
        """End it, now."""
        self._refused = True
        self.drop()
        if self._patience:
            self._patience.reschedule(0)


class Bodies:
    """All of them, oldest first. `bytes`: what they have brought so far."""

    def __init__(self, limit_bytes: int = ARRIVING_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._arriving: dict[Body, None] = {}
        self.bytes = 0

    @contextmanager
    def arriving(self, max_bytes: int) -> Generator[Body]:
        """One more body, of at most so many bytes, until it is complete or refused."""
        body = Body(self, max_bytes)
        self._arriving[body] = None
        try:
            yield body
        finally:
            self._forget(body)
            body.drop()

    def grown(self, body: Body, size: int, max_bytes: int) -> None:
        """So many bytes of a body arrived."""
        body.size += size
        self.bytes += size
        while self.bytes > max(self.limit_bytes, LARGEST * max_bytes):
            oldest = next(iter(self._arriving))
            self._forget(oldest)
            oldest.refuse()

    def _forget(self, body: Body) -> None:
        if body in self._arriving:
            del self._arriving[body]
            self.bytes -= body.size
