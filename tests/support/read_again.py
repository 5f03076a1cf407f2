"""Waits until a file that has changed was read, which a thread does while an event loop runs."""

from typing import Any

from tests.support.waiting import wait_until
from turnwire.shared.watched_file import WatchedFile


async def read_again(file: WatchedFile[Any]) -> None:
    """Let it look at the file, if it is time, and wait for the end of that."""
    assert file.content is not None
    await wait_until(lambda: file._looking is None, "the file was read")
