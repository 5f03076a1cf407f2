"""Measures how late an event loop runs what is due."""

import asyncio
import time
from typing import Final

from turnwire.shared.metrics import histogram

LOOK_S: Final = 0.25  # between two looks

_LAG: Final = histogram("turnwire_event_loop_lag_seconds")


async def watch_lag() -> None:
    """Measure the running event loop until cancelled."""
    while True:
        due_s = time.monotonic() + LOOK_S
        await asyncio.sleep(LOOK_S)
        _LAG.observe(max(time.monotonic() - due_s, 0.0))
