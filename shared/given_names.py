"""Checks names that a client or a producer gave. `keys.session_key` does the same for the ids of sessions."""

import re
from typing import Final

from turnwire.shared.errors import BadRequest
from turnwire.shared.keys import MAX_TURN_INDEX

_SIGNAL: Final = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_INDEX: Final = re.compile(r"(0|[1-9][0-9]{0,9})\Z")


def turn_index(text: str) -> int:
    """Return the turn index that a client named.

    Raises:
        BadRequest: the text is not a plain decimal number from 0 to 2147483647.
    """
    if not _INDEX.match(text) or int(text) > MAX_TURN_INDEX:
        raise BadRequest(f"a turn index must be a plain decimal number from 0 to {MAX_TURN_INDEX}")
    return int(text)


def signal_key(text: str) -> str:
    """Check the name of a signal that a client or a producer gave, and return it.

    Raises:
        BadRequest: the name does not have 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
    """
    if not _SIGNAL.match(text):
        raise BadRequest("a signal's key must have 1 to 128 characters of A-Z a-z 0-9 . _ -")
    return text
