"""Says in the log why no connection to Redis can be made: a wrong password, a certificate, a port that nobody serves.

While Redis is away, connections are tried again and again. So each cause is named once in ten seconds.
"""

import logging
import time
from typing import Final

logger = logging.getLogger(__name__)

AGAIN_S: Final = 10.0
MOST_CAUSES: Final = 100  # that are remembered

_said_s: dict[str, float] = {}  # cause -> when it was named


def say_why(error: Exception) -> None:
    """Log the cause, unless it was named a moment ago."""
    cause = str(error) or type(error).__name__
    now_s = time.monotonic()
    if now_s - _said_s.get(cause, -AGAIN_S) < AGAIN_S:
        return
    if len(_said_s) >= MOST_CAUSES:
        _said_s.clear()
    _said_s[cause] = now_s
    logger.warning("no connection to Redis: %s", cause)
