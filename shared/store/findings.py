"""What workers have found out about model servers, on the data Redis, so that other workers need not find it out.

A finding is one word. It may be old, wrong or gone at any time, so whoever uses it must be able to do without.
"""

import logging
from typing import Any, Final

from redis.exceptions import RedisError

from turnwire.shared import keys
from turnwire.shared.errors import TurnwireError
from turnwire.shared.settings import Settings
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.scripts import answered_within

logger = logging.getLogger(__name__)

ASK_S: Final = 0.25  # a turn waits for Redis no longer than that


class Findings:
    """Reads and keeps them. No method raises, and none takes longer than a quarter of a second."""

    def __init__(self, redis: Any, settings: Settings) -> None:
        self._courier = Courier(redis, settings.redis_timeout_s)

    async def read(self, name: str) -> str | None:
        """Return the finding of this name; '' if there is none; None if Redis does not tell in time."""
        found = await self._ask("GET", keys.FOUND_PREFIX + name, otherwise=False)
        if found is False:
            return None
        return "" if found is None else found.decode(errors="replace")

    async def keep(self, name: str, word: str, keep_s: int) -> None:
        """Keep a finding for so many seconds, in place of an earlier one."""
        await self._ask("SET", keys.FOUND_PREFIX + name, word, "EX", keep_s)

    async def forget(self, name: str) -> None:
        """Throw a finding away."""
        await self._ask("DEL", keys.FOUND_PREFIX + name)

    async def _ask(self, *command: str | int, otherwise: Any = None) -> Any:
        try:
            async with answered_within(ASK_S):
                return await self._courier.send(*command)
        except (TurnwireError, RedisError) as error:
            logger.warning("a finding about a model server is neither read nor kept: %s", error)
            return otherwise
