"""Decides, for one call, whether a failed request is repeated, and waits until then."""

import asyncio
import logging
import random

from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.backends.retry import RetryPolicy

logger = logging.getLogger(__name__)


class Tries:
    """The requests of one call. `name`: what the log calls it."""

    def __init__(self, policy: RetryPolicy, name: str) -> None:
        self._policy = policy
        self._name = name
        self._number = 1

    def __str__(self) -> str:
        """The number of the request, for messages."""
        return f"attempt {self._number} of {self._policy.max_attempts}"

    async def again(self, failure: BackendTransportError) -> bool:
        """Wait until the request may be repeated. Returns False, at once, if the failure is final."""
        policy, asked_ms = self._policy, failure.retry_after_ms
        too_late = asked_ms is not None and asked_ms > policy.retry_after_cap_ms
        if not failure.retryable or too_late or self._number >= policy.max_attempts:
            return False
        delay_ms = policy.delay_ms(self._number, asked_ms, random.random())  # noqa: S311 - spreads retries
        log = "%s failed, it is repeated in %d ms: %s%s"
        logger.warning(log, self._name, delay_ms, failure, failure.detail)
        await asyncio.sleep(delay_ms / 1000)
        self._number += 1
        return True

    def log_end(self, failure: BackendTransportError) -> None:
        """Log the failure that ends the call, with what the server said and what caused it."""
        logger.warning("%s failed: %s%s", self._name, failure, failure.detail)
