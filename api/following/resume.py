"""Decides whether a client that comes with a cursor can follow the log from there without missing an event.

`Publication.after` answers the same question for events that were just published. There the ids are dense and all
the events belong to one attempt; here a takeover or a trimmed log may lie between the cursor and the next event.
"""

import msgspec

from turnwire.api.following.encode import event_type
from turnwire.shared.errors import BadRequest, CursorGone, TurnwireError
from turnwire.shared.events import RUN_RESUMED, Cursor, Entry
from turnwire.shared.keys import TurnKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import TurnRecord
from turnwire.shared.store.turns import TurnStore


async def at_end(store: TurnStore, key: TurnKey, after: Cursor | None) -> bool:
    """Return whether nothing can follow the cursor, because it is the cursor of the terminal event.

    Raises:
        NotFound, BadRequest, CursorGone: the log cannot be followed from there.
    """
    while True:
        record = await store.existing(key)
        try:
            return await _at_end_of(record, store, key, after)
        except (BadRequest, CursorGone) as error:
            # a takeover or a new request between the two reads can make a valid cursor look invalid
            if await store.record(key) != record:
                continue
            if isinstance(error, BadRequest) and await store.has_failed_over(key):  # the loss is not the client's fault
                raise CursorGone("the events at that cursor were lost: read the turn from its start") from None
            raise


async def _at_end_of(record: TurnRecord, store: TurnStore, key: TurnKey, after: Cursor | None) -> bool:
    if after is None and not record.terminal:
        return False
    if after is not None and after.attempt > record.attempt:
        raise BadRequest("this turn has not reached the attempt of that cursor")
    following = await store.read(key, after, 1)
    if following:
        if not continues(after, following[0]):
            raise CursorGone("the events after that cursor were erased: read the turn from its start")
        return False
    if record.terminal:
        if after is None or not await store.read(key, None, 1):
            raise CursorGone("the events of this turn were erased")
        await _require(store, key, after, BadRequest("this turn ended before that cursor"))
        return True
    # while the turn is queued, events of its last attempt may have been discarded; their cursors stay valid
    if after and after.attempt == record.attempt and record.status != TurnState.QUEUED:
        await _require(store, key, after, CursorGone("this turn has no such event: read it from its start"))
    return False


async def _require(store: TurnStore, key: TurnKey, cursor: Cursor, error: TurnwireError) -> None:
    """Raise `error` if the log has no event with this cursor."""
    found = await store.read(key, cursor.just_before, 1)
    if not found or found[0].id != str(cursor).encode():
        raise error


class _Rewind(msgspec.Struct):
    after: str


class _Resumed(msgspec.Struct):
    data: _Rewind


def continues(cursor: Cursor | None, entry: Entry) -> bool:
    """Return whether a reader at the cursor misses nothing when this entry of the log comes next.

    Either the entry is the next one of the same attempt, or it tells the reader to drop all events after an earlier
    cursor.
    """
    place = Cursor.parse(entry.id.decode())
    if cursor is None:
        return place.seq == 0
    if place == Cursor(cursor.attempt, cursor.seq + 1):
        return True
    if event_type(entry.event) != RUN_RESUMED.encode():
        return False
    return Cursor.parse(msgspec.json.decode(entry.event, type=_Resumed).data.after) <= cursor
