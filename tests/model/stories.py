"""Redis and the memory store of turnwire.testing, driven side by side through what can happen, in any order.

In CI these are the same stories every time, so few that they take seconds. A longer hunt, with other stories each time:

    MODEL_STORIES=20000 python3 dev.py test tests/model

What fails is shrunk to the shortest story and printed; that takes some minutes.
"""

import os
from typing import Final

from hypothesis import HealthCheck, Phase, settings

HUNT: Final = int(os.environ.get("MODEL_STORIES", "0"))
LIMIT_S: Final = 0 if HUNT else 900  # 0: none


def stories(count: int) -> settings:
    """Run so many stories, or as many as MODEL_STORIES asks for."""
    return settings(
        max_examples=HUNT or count,
        stateful_step_count=30,
        derandomize=not HUNT,
        database=None,
        deadline=None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
