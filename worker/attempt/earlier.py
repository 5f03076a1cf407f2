"""Finds the messages that a turn follows: what its first attempt saw, the product's own, or what Turnwire keeps."""

import logging

from turnwire.shared.errors import TurnFailure
from turnwire.shared.model import readable
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.attempt import Attempt
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.products import hook
from turnwire.worker.turn.history import (
    HistoryError,
    Message,
    decode_messages,
    encode_messages,
    messages_from,
    messages_of,
)
from turnwire.worker.turn.hook_positions import in_hook
from turnwire.worker.turn.limits import call_within
from turnwire.worker.turn.turn import Turn

logger = logging.getLogger(__name__)


async def history_of(attempt: Attempt, store: TurnStore, hooks: ChatTurnHooks, turn: Turn) -> list[Message]:
    """Return what the first attempt saw, if it has stored a step; otherwise what there is now.

    Raises:
        HistoryError: the product's hook failed.
        TurnFailure: the product's hook raised it.
        RecordUnreadable: another version stored the messages.
    """
    claimed, settings = attempt.claimed, store.settings_of(attempt.claimed.key.session.tenant)
    if claimed.history is not None:
        with readable(f"the history of turn {claimed.key.run_id}"):
            return decode_messages(claimed.history)
    own = hook(hooks, "history")
    if own is not None:
        try:
            with in_hook("history", kept=False):
                returned = await call_within(settings.longest_hook_s, own, turn)
        except TurnFailure:
            if attempt.answered:
                return []
            raise
        except Exception as error:
            logger.exception("%s: the hook history failed", claimed.key.run_id)
            if attempt.answered:  # only hooks are left to run, and the answer must not be lost
                return []
            raise HistoryError("the product could not tell the earlier messages") from error
        messages = messages_from(returned, settings.history_bytes)
    else:
        parent = claimed.record.parent
        records = await until_answered(store.history, claimed.key, settings.history_turns, parent)
        messages = messages_of(records, settings.history_bytes, stopped=settings.history_stopped == "keep")
    attempt.unsaved_history = encode_messages(messages)
    return messages
