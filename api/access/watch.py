"""Ends what still goes on for a client whose credentials have expired, or were withdrawn."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from turnwire.api.access.door import Credential, Door

LOOK_S: Final = 1.0

OnEnd = Callable[[str], None]  # is called with the code that says why

logger = logging.getLogger(__name__)


class WatchedStream:
    """The context manager of one open stream. It has slots, because an API holds thousands of them."""

    __slots__ = ("_credential", "_on_end", "_watched")

    def __init__(self, watched: dict[OnEnd, Credential], credential: Credential, on_end: OnEnd) -> None:
        self._watched = watched
        self._credential = credential
        self._on_end = on_end

    def __enter__(self) -> None:
        self._watched[self._on_end] = self._credential

    def __exit__(self, *_: object) -> None:
        self._watched.pop(self._on_end, None)


class CredentialWatch:
    """Looks once a second whether the credentials of open streams are still valid."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._watched: dict[OnEnd, Credential] = {}

    def while_valid(self, credential: Credential, on_end: OnEnd) -> WatchedStream:
        """Call `on_end` once if the credentials end while the block runs."""
        return WatchedStream(self._watched, credential, on_end)

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Look once. Credentials whose check fails by a defect hinder no others, and are checked again next time."""
        now_s = time.time()
        is_unchanged = self._door.is_unchanged
        defect: Exception | None = None
        for on_end, credential in list(self._watched.items()):
            if is_unchanged(credential, now_s):
                continue
            await asyncio.sleep(0)  # after a revocation all tokens are verified again, and the streams must not wait
            epoch = self._door.epoch
            try:
                why = await self._door.ended(credential)
            except Exception as error:  # noqa: BLE001 - one line for all of them is logged below
                defect = error
                continue
            if on_end not in self._watched:  # it has ended meanwhile
                continue
            if why is None:
                self._watched[on_end] = Credential(
                    credential.identity, credential.presented, epoch, credential.expires_s
                )
            else:
                del self._watched[on_end]
                on_end(why)
        if defect:
            logger.error("the credentials of some open streams could not be checked", exc_info=defect)
