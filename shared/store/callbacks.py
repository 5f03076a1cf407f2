"""Knows which callbacks are still to be made: their tries stand in the hash of the turn that they tell of."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from turnwire.shared.keys import TurnKey
from turnwire.shared.settings import Settings
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.scripts import Script, answered_within

CALLBACK = Script("callback")

FIRST_PAUSE_MS: Final = 1000
LONGEST_PAUSE_MS: Final = 3_600_000


class Try(NamedTuple):
    """A try to make a callback. `wait_ms`: 0 if it has begun, as number `tries`; else it may begin in so many ms."""

    tries: int
    wait_ms: int


class Callbacks:
    """Typed access to callbacks. Methods raise StoreUnavailable when Redis does not answer; all may be repeated."""

    def __init__(self, redis: Any, settings: Settings) -> None:
        self._redis = redis
        self._timeout_s = settings.redis_timeout_s
        self._courier = Courier(redis, settings.redis_timeout_s)

    async def begin(self, key: TurnKey, state: str) -> Try | None:
        """Begin a try to tell of this state of the turn; None: it was told already, or the turn is gone."""
        tries, wait_ms = await CALLBACK(
            self._courier, [key.record], ["begin", state, FIRST_PAUSE_MS, LONGEST_PAUSE_MS]
        )  # fmt: skip
        return None if tries < 0 else Try(tries, wait_ms)

    async def done(self, key: TurnKey, state: str) -> None:
        """Note that this state of the turn was told."""
        await CALLBACK(self._courier, [key.record], ["done", state, 0, 0])

    async def tries(self, turns: Sequence[TurnKey]) -> list[int]:
        """Return how often each of these callbacks was tried."""
        async with answered_within(self._timeout_s):
            pipe = self._redis.pipeline(transaction=False)
            for key in turns:
                pipe.hget(key.record, "callback_tries")
            return [int(tries or 0) for tries in await pipe.execute()]
