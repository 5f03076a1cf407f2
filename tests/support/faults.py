"""Faults on purpose. In the worst one, Redis does the write, but its reply is lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from turnwire.shared.store import courier
from turnwire.shared.store.courier import Courier


class LostReply:
    """Wraps an async call. The first use that succeeds takes effect, but its reply never arrives.

    If the server does not know the script yet, it has not run it, so that reply is not lost.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self.lost = False

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        reply = await self._call(*args, **kwargs)
        unknown = isinstance(reply, list) and any(isinstance(part, NoScriptError) for part in reply)
        if not self.lost and not unknown:
            self.lost = True
            raise RedisConnectionError("reply lost")
        return reply


@contextmanager
def one_lost_reply(redis: Redis, *, resent: bool) -> Iterator[None]:
    """Lose the replies of this client's next round trip, which the server still runs.

    `resent`: the courier itself sends it again, as it does on a broken connection. Otherwise the caller gets the error.
    """
    round_trip = Courier._round_trip
    faults: list[LostReply] = []

    async def lossy(self: Courier, batch: list[Any]) -> list[Any]:
        if self._pool is redis.connection_pool and not any(fault.lost for fault in faults):
            faults.append(LostReply(round_trip))
            return await faults[-1](self, batch)
        return await round_trip(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Courier, "_round_trip", lossy)
        if not resent:
            patch.setattr(courier, "PAUSES_S", ())
        yield
    assert any(fault.lost for fault in faults), "no reply was lost, so the fault was planted at the wrong place"
