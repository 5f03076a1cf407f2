"""Does what follows the end of a turn on both Redis servers: turns of its session that waited for it may run."""

from collections.abc import Sequence

from turnwire.shared.keys import TurnKey
from turnwire.shared.replies import CancelVerdict
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore


async def wake_next(store: TurnStore, queue: TurnQueue, ended: TurnKey, woken: Sequence[int]) -> None:
    """Enqueue the later turns of the session that may be able to run because `ended` has ended."""
    for index in woken:
        if index > ended.index:
            following = ended.session.turn(index)
            await queue.enqueue(following.run_id, accepted=True, lane=await store.lane(following))


async def cancel_and_wake(
    store: TurnStore, queue: TurnQueue, key: TurnKey, reason: str, *, repeated: bool = False, user: str | None = None
) -> CancelVerdict:
    """Cancel a turn, and wake the turns of its session that waited for it. May be repeated.

    `repeated`, `user`: as of `TurnStore.cancel`.

    Raises:
        NotFound: there is no such turn.
        StoreUnavailable: the turn may be cancelled. The sweep enqueues what was not enqueued here.
    """
    cancelled = await store.cancel(key, reason, repeated=repeated, user=user)
    if cancelled.verdict is CancelVerdict.CANCELLED:  # a suspended turn has no job whose end would publish its row
        waits = not await queue.enqueue(key.run_id, accepted=True, lane=await store.lane(key))
        if waits:
            await queue.release([key.run_id])  # what is left to do for it must not wait for operators
    await wake_next(store, queue, key, cancelled.woken)
    return cancelled.verdict
