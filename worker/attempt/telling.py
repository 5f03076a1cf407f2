"""Tells a product of a turn that has failed or was cancelled, at least once.

Whoever ends the turn tells it, after the end. If that worker dies, or if a script has ended the turn, the turn's job is
still there, and the next worker that takes it finds no note that the product was told.
"""

from contextlib import suppress
from typing import Final

from turnwire.shared.errors import AttemptFenced, storable
from turnwire.shared.keys import TurnKey
from turnwire.shared.model import StepRecord, TurnError, TurnRecord
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.scripts import Arg
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.attempt import Attempt, Lease
from turnwire.worker.attempt.ending import Ending
from turnwire.worker.attempt.finish import HookPolicy, tell_failed
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.products import hook
from turnwire.worker.turn.turn import Turn

ON_TURN_FAILED: Final = "on_turn_failed"


def partial_text(attempt: Attempt, ending: Ending) -> str:
    """Return the text that a turn without an answer has streamed.

    With a hook `transform_final_text`, nobody may see a text that it has not accepted; so there is none.
    """
    if ending.text is not None or attempt.product is None:
        return ending.text or ""
    hooks, _ = attempt.product
    return attempt.text.text if hook(hooks, "transform_final_text") is None else ""


def partial_fields(text: str, store: TurnStore) -> dict[str, Arg]:
    """Return the fields of the turn hash that keep the partial text."""
    fields: dict[str, Arg] = {}
    if text.strip():
        fields["partial_text"] = storable(text)
        if store.settings.history_stopped == "keep":
            fields["in_history"] = 1
    return fields


async def tell_of_attempt(attempt: Attempt, store: TurnStore, error: TurnError, text: str) -> None:
    """Tell the product of the turn that this attempt has ended."""
    if attempt.product is None:
        return
    attempt.lease = Lease.CHANGING  # it has none any more
    hooks, turn = attempt.product
    await tell(store, hooks, turn, attempt.claimed.key, attempt.claimed.attempt, error, text)


async def call_back(queue: TurnQueue, record: TurnRecord) -> None:
    """Let the client's server be told of the turn, if the client has named one."""
    if record.callback is not None:
        await until_answered(queue.enqueue_callback, record.run_id, lane=record.lane)


async def tell(
    store: TurnStore, hooks: ChatTurnHooks, turn: Turn, key: TurnKey, attempt: int, error: TurnError, text: str
) -> None:
    """Tell the product of a turn, and note that it was told. `attempt`: the last one of the turn."""
    if await tell_failed(hooks, turn, error, text, HookPolicy.of(store.settings, kept=False)):
        note = StepRecord(status="completed", index=_place(attempt), intent=ON_TURN_FAILED, kind="logic")
        with suppress(AttemptFenced):  # the turn was asked again
            await until_answered(store.keep_step, key, attempt, note)


async def was_told(store: TurnStore, key: TurnKey, attempt: int) -> bool:
    """Return whether a worker has noted that the product was told of the end of this attempt."""
    return _place(attempt) in await until_answered(store.steps, key)


def _place(attempt: int) -> str:
    return f"{ON_TURN_FAILED}/{attempt}"
