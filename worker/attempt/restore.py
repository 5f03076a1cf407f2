"""Writes again what the store has lost of a running attempt."""

from turnwire.shared.errors import StoreLost
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.scripts import LogBehind, StepsBehind
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.attempt import Attempt, Stop


async def restore(attempt: Attempt, store: TurnStore, behind: LogBehind | StepsBehind) -> None:
    """Write the events and the checkpoints again that the store has lost. `behind`: how it was noticed.

    Raises:
        StoreLost: they are not kept here.
        AttemptFenced: the lease was lost.
    """
    kept = attempt.kept_steps
    if isinstance(behind, LogBehind):
        attempt.log.restore(behind)
    elif not kept.covers(behind.stands):
        attempt.stop(Stop.STORE_LOST)
        raise StoreLost("the store has lost steps of this attempt")
    await attempt.log.flush()
    for number, record, history in kept.newest():
        await until_answered(store.checkpoint, attempt.claimed, record, history, number=number)
