"""Pauses and resumes tenants and projects: turns of what is paused are accepted, but do not start.

What is paused is written on the server of the queue, where workers see it whenever they take jobs, and on that of the
turns. So a queue that is filled again after a loss finds it there.
"""

from typing import Final, Literal

from turnwire.shared import keys
from turnwire.shared.errors import InvalidInput
from turnwire.shared.lanes import paused_field
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.queue_view import PausedName
from turnwire.shared.store.scripts import Arg, Script, typed_refusals
from turnwire.shared.store.turns import TurnStore

PAUSE = Script("pause")
RESUME = Script("resume")

MOST_PAUSED: Final = 1000  # workers read their names with every look at the queue
TOGETHER: Final = 100  # so many jobs go back in one call, so that Redis can serve other clients in between

Kind = Literal["tenant", "project"]


class Pausing:
    """Typed access. Methods raise StoreUnavailable when a server does not answer; all of them may be repeated."""

    def __init__(self, store: TurnStore, queue: TurnQueue) -> None:
        settings = store.settings
        self._has_copy = settings.queue_url != settings.redis_url
        self._courier = Courier(queue.redis, settings.redis_timeout_s)
        self._data = Courier(store.redis, settings.redis_timeout_s, replicas=settings.redis_replicas)

    async def pause(self, kind: Kind, name: str) -> PausedName:
        """Pause a tenant or a project. Returns since when it is paused.

        Raises:
            InvalidInput: too many are paused already.
        """
        field = paused_field(kind, name)
        since = int(await PAUSE(self._courier, [keys.PAUSED], [field, MOST_PAUSED]))
        if since < 0:
            raise InvalidInput(f"{MOST_PAUSED} tenants and projects are paused already")
        if self._has_copy:
            with typed_refusals():
                await self._data.send("HSET", keys.PAUSED, field, since)
        return PausedName(kind, name, since)

    async def resume(self, kind: Kind, name: str) -> None:
        """Let the turns of a tenant or a project start again, at once and in the order in which they were asked."""
        field = paused_field(kind, name)
        if self._has_copy:
            with typed_refusals():
                await self._data.send("HDEL", keys.PAUSED, field)
        await self._give_back(field)

    async def go_on(self) -> None:
        """Go on where somebody died who resumed a tenant or a project."""
        with typed_refusals():
            fields = await self._courier.send("HGETALL", keys.PAUSED)
        for field, since in zip(fields[::2], fields[1::2], strict=True):
            if since == b"resuming":
                await self._give_back(field.decode())

    async def restore(self) -> None:
        """Pause what the server of the queue has forgotten."""
        if not self._has_copy:
            return
        with typed_refusals():
            fields = await self._data.send("HGETALL", keys.PAUSED)
            for field, since in zip(fields[::2], fields[1::2], strict=True):
                await self._courier.send("HSETNX", keys.PAUSED, field, since)

    async def _give_back(self, field: str) -> None:
        names = [keys.QUEUE, keys.HINTS, keys.PAUSED, keys.HELD_PREFIX + field]
        prefixes = keys.LANE_PREFIX, keys.TENANTS_PREFIX, keys.DEBTS_PREFIX, keys.WAITING_PREFIX, keys.AGEING_PREFIX
        args: list[Arg] = [field, TOGETHER, *prefixes]
        while await RESUME(self._courier, names, args):
            pass
