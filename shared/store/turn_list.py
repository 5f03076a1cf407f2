"""Lists turns for operators, newest first: those that are open, and those that ended lately.

A filter may fit few turns among very many, and no index knows which. So one call looks at a limited number of turns,
and may return fewer than were asked for, together with the place where the next call goes on.
"""

from typing import Final, Literal, NamedTuple

import msgspec

from turnwire.shared.keys import DEFAULT_TENANT, SessionKey, TurnKey
from turnwire.shared.lifecycle import TERMINAL_STATES
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turn_places import ClaimedPlaces, ListedPlaces, Place, Places, SessionPlaces, SuspendedPlaces
from turnwire.shared.store.turn_rows import TurnRow, TurnRows
from turnwire.shared.store.turns import TurnStore

State = Literal["queued", "running", "suspended", "completed", "failed", "cancelled", "open", "ended"]

LOOKED_AT: Final = 1000  # so many turns are looked at in one call, at most
TOGETHER: Final = 200  # in one round trip, so that Redis and this process serve others in between


class TurnFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which turns to list. None stands for any.

    `session`: one of `tenant`, or else of the default tenant. `text`: a part of the run id, the project, the model or
    the code. `older_than_ms`: turns that were created so long ago, or longer.
    """

    state: State | None = None
    tenant: str | None = None
    session: str | None = None
    project: str | None = None
    worker: str | None = None
    text: str | None = None
    older_than_ms: int = 0

    def may_fit(self, key: TurnKey) -> bool:
        """Whether the turn can fit, as far as its run id tells."""
        return self.tenant in {None, key.session.tenant} and self.session in {None, key.session.session}

    def fits(self, row: TurnRow, now_ms: int) -> bool:
        """Whether the turn fits."""
        states = {None, row.status, "ended" if row.status in TERMINAL_STATES else "open"}
        shown = (row.run_id, row.project, row.model, row.code)
        return (
            self.state in states
            and self.project in {None, row.project}
            and self.worker in {None, row.worker}
            and (self.text is None or any(self.text in part for part in shown if part))
            and row.created_at <= now_ms - self.older_than_ms
        )


class TurnsFound(NamedTuple):
    """A page of the list. `next`: the place after which the next page begins; None on the last one."""

    now_ms: int
    rows: list[TurnRow]
    next: Place | None


class TurnList:
    """The list. Methods raise StoreUnavailable when one of the servers does not answer."""

    def __init__(self, store: TurnStore, queue: TurnQueue) -> None:
        self._store = store
        self._queue = queue
        self._rows = TurnRows(store, queue)

    async def page(self, wanted: TurnFilter, after: Place | None, limit: int) -> TurnsFound:
        """Return at most `limit` turns that come after a place; with None, the newest ones."""
        places, looked_at, rows = self._places(wanted), 0, list[TurnRow]()
        together = min(limit, TOGETHER) if wanted == TurnFilter() else TOGETHER
        while True:
            batch, has_more = await places.after(after, together)
            now_ms, known = await self._read(wanted, places, batch)
            for number, place in enumerate(batch):
                row = known.get(place)
                if row is not None and wanted.fits(row, now_ms):
                    rows.append(row)
                after = place
                if len(rows) == limit:
                    is_last = not has_more and number == len(batch) - 1
                    return TurnsFound(now_ms, rows, None if is_last else place)
            looked_at += len(batch)
            if not has_more or looked_at >= LOOKED_AT:
                return TurnsFound(now_ms, rows, after if has_more else None)

    def _places(self, wanted: TurnFilter) -> Places:
        if wanted.session is not None:
            return SessionPlaces(self._store, SessionKey(wanted.tenant or DEFAULT_TENANT, wanted.session))
        if wanted.state == "running":
            return ClaimedPlaces(self._queue, wanted.worker)
        if wanted.state == "suspended":
            return SuspendedPlaces(self._store)
        return ListedPlaces(self._queue, wanted.older_than_ms)

    async def _read(
        self, wanted: TurnFilter, places: Places, batch: list[Place]
    ) -> tuple[int, dict[Place, TurnRow | None]]:
        keys = {place: TurnKey.parse(place.run_id) for place in batch}
        candidates = [place for place in batch if wanted.may_fit(keys[place])]
        now_ms, found = await self._rows.read([keys[place] for place in candidates])
        known = dict(zip(candidates, found, strict=True))
        await places.gone([place for place, row in known.items() if row is None])
        return now_ms, known
