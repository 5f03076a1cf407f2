"""Follows sessions: one task for each session in this process looks at its turns, for all who follow it there.

    a message on the session's channel ──┐   `submit` tells of turns that it accepts
    a message on an open turn's channel ─┼──► noticed ──► store.look ──► Follower.offer
    5 s without a message ───────────────┘

Messages are hints: what a follower is told is what a look has found. So a message that gets lost only delays it.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

import msgspec

from turnwire.api.following.change import Change, ChangeCursor
from turnwire.api.following.follower import Follower
from turnwire.api.following.hub import Hub
from turnwire.api.following.publication import Publication
from turnwire.shared.errors import NotFound, StoreUnavailable
from turnwire.shared.events import OWN_EVENT_PREFIX, Cursor
from turnwire.shared.keys import SessionKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.log_context import nowhere
from turnwire.shared.store.session_look import GONE, LOOKED_AT, Look, TurnStanding
from turnwire.shared.store.turns import TurnStore

LOOK_EVERY_S: Final = 5.0  # without a message
BETWEEN_LOOKS_S: Final = 0.05  # at least; so a session whose turns change fast costs a bounded number of looks
WATCHED_TURNS: Final = 16  # open turns whose channels are followed; the regular looks find what happens to the others
_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)

logger = logging.getLogger(__name__)


class TurnWatch:
    """Notices when an open turn may have changed its status. A topic calls its methods, see Reader in topic.py."""

    def __init__(self, feed: "SessionFeed", index: int) -> None:
        self._feed = feed
        self._index = index

    def offer(self, publication: Publication) -> None:
        """Look if one of the events is Turnwire's own: a turn begins, goes on, is suspended and ends with these."""
        if any(entry.event.startswith(OWN_EVENT_PREFIX) for entry in publication.entries):
            self._feed.notice(self._index)

    def fall_behind(self) -> None:
        """Look, because messages may have been lost."""
        self._feed.notice(self._index)

    def silent(self, _: Cursor | None, *, over: bool) -> None:
        """Look if the turn is `over`, and was not. Nothing was published for long."""
        if over and self._feed.is_open(self._index):
            self._feed.notice(self._index)

    def erased(self) -> None:
        """Look, because the turn was erased."""
        self._feed.notice(self._index)

    def fail(self, _: Exception) -> None:
        """Do nothing: the regular looks still find what happens to a turn whose log cannot be read."""

    def stop(self) -> None:
        """Do nothing: the feed is stopped by itself."""


class SessionFeed:
    """One session that somebody follows: its followers, and what the last look has found.

    Of the ended turns it knows only those that have changed so late that the next look may find the same change again.
    """

    def __init__(self, session: SessionKey, store: TurnStore, hub: Hub) -> None:
        self.followers: set[Follower] = set()
        self._session = session
        self._store = store
        self._hub = hub
        self._channel = session.channel(store.settings.deployment_name)
        self._joining: list[Follower] = []
        self._named: set[int] = set()  # turns that a message named
        self._may_have_missed = False
        self._noticed = asyncio.Event()
        self._watched: dict[int, ExitStack] = {}
        self._known: dict[int, TurnStanding] = {}
        self._last: Look | None = None
        self._highest = -1
        hub.on(self._channel, self._told)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="session feed", context=nowhere())

    def join(self, follower: Follower) -> None:
        """Add a follower. The next look tells it where the session stands."""
        self.followers.add(follower)
        self._joining.append(follower)
        self._noticed.set()

    def leave(self, follower: Follower) -> None:
        """Remove a follower."""
        self.followers.discard(follower)
        if follower in self._joining:
            self._joining.remove(follower)

    def notice(self, index: int) -> None:
        """Look soon, because this turn may have changed."""
        self._named.add(index)
        self._noticed.set()

    def is_open(self, index: int) -> bool:
        """Whether the last look has found this turn open."""
        turn = self._known.get(index)
        return turn is not None and not turn.is_over

    def close(self) -> None:
        """Stop all work of the feed, because its last follower has left."""
        self._task.cancel()
        self._hub.off(self._channel)
        self._forget()

    @property
    def has_failed(self) -> bool:
        """Whether a defect has ended it."""
        return self._task.done()

    @property
    def watched(self) -> int:
        """How many readers it has in the hub."""
        return len(self._watched)

    def _told(self, payload: bytes | None) -> None:
        if payload is None:
            self._may_have_missed = True
        elif payload.isdigit():
            self._named.add(int(payload))
        self._noticed.set()

    async def _run(self) -> None:
        failures = 0
        try:
            while True:
                self._noticed.clear()
                try:
                    await self._look_once()
                except StoreUnavailable as error:
                    for follower in self._joining:
                        follower.fail(error)
                    await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                    failures += 1
                    continue
                failures = 0
                await self._pause()
        except Exception as error:
            logger.exception("a session cannot be followed", extra={"tenant": self._session.tenant})
            for follower in self.followers:
                follower.end(error)
            self._forget()

    async def _pause(self) -> None:
        await asyncio.sleep(BETWEEN_LOOKS_S)
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._noticed.wait()
        except TimeoutError:
            pass

    async def _look_once(self) -> None:
        """Look at the session once, and tell the followers what is new."""
        joining, named, missed = list(self._joining), sorted(self._named), self._may_have_missed
        since = [follower.cursor.at_ms for follower in joining if follower.cursor]
        if missed and self._last:
            since.append(self._last.at_ms)
        asked = sorted({*self._open_turns()[:LOOKED_AT], *named})
        if since:
            look = await self._store.look(self._session, since_ms=min(since), first=0, named=asked)
        else:
            first = self._highest + 1 if self._last else None
            look = await self._store.look(self._session, first=first, named=asked)
        self._named.difference_update(named)
        self._may_have_missed = self._may_have_missed and not missed
        if look is None or (self._last and look.created_at != self._last.created_at):
            self._erased(look)
            return
        self._tell(look, joining)

    def _erased(self, look: Look | None) -> None:
        """End all followers, because the session was erased. `look`: at the session that has begun again; None: none.

        A new session may be another user's, so those who have just joined have to ask again, too.
        """
        gone = NotFound("no such session") if look is None else StoreUnavailable("the session has just begun again")
        for follower in self.followers:
            follower.fail(gone)
            follower.stop()
        self.followers.clear()
        self._joining.clear()
        self._forget()

    def _forget(self) -> None:
        self._known, self._last, self._highest = {}, None, -1
        self._watch()

    def _tell(self, look: Look, joining: Sequence[Follower]) -> None:
        if self._last:
            news = sorted(filter(self._is_news, look.turns.values()), key=lambda turn: (turn.updated_at, turn.index))
            changes = [Change.of(self._session, _dated(turn, look.at_ms)) for turn in news]
            for follower in self.followers.difference(self._joining):
                follower.offer(changes)
        self._learn(look)
        for follower in joining:
            if follower in self._joining:
                self._joining.remove(follower)
                follower.begin([Change.of(self._session, turn) for turn in _start(follower.cursor, look)])
        self._watch()

    def _is_news(self, turn: TurnStanding) -> bool:
        known = self._known.get(turn.index)
        if known is not None:
            return turn != known
        assert self._last is not None
        return turn.status != GONE and (turn.index > self._highest or turn.updated_at >= self._last.at_ms)

    def _learn(self, look: Look) -> None:
        known = self._known | look.turns
        self._known = {
            index: turn for index, turn in known.items() if not turn.is_over or turn.updated_at >= look.at_ms
        }
        self._highest = max([self._highest, *look.turns])
        self._last = look

    def _open_turns(self) -> list[int]:
        """Return the open turns, oldest first. Those that do not run may be behind one that does."""
        return sorted(index for index, turn in self._known.items() if not turn.is_over)

    def _watch(self) -> None:
        """Follow the channels of the open turns, of those that run before all others, and of the last turn.

        An erasure is told on the channel of each turn, also of one that has ended.
        """
        by_rank = sorted(self._open_turns(), key=lambda index: self._known[index].status == TurnState.QUEUED)
        wanted = {*by_rank[:WATCHED_TURNS], *([self._highest] if self._last else [])}
        for index in self._watched.keys() - wanted:
            self._watched.pop(index).close()
        for index in wanted - self._watched.keys():
            stack = self._watched[index] = ExitStack()
            stack.enter_context(self._hub.listen(self._session.turn(index), TurnWatch(self, index)))
            self.notice(index)  # others may follow the turn already; then no subscription tells when messages begin


def _dated(turn: TurnStanding, now_ms: int) -> TurnStanding:
    """Return the turn; one that is gone since the last look is so from now on."""
    return msgspec.structs.replace(turn, updated_at=now_ms) if turn.status == GONE else turn


def _start(after: ChangeCursor | None, look: Look) -> list[TurnStanding]:
    """Return what a follower is told first: what has changed since its cursor, or the open turns and the last one."""
    turns = [turn for turn in look.turns.values() if turn.status != GONE]
    if after is not None:
        return [turn for turn in turns if after.is_before(turn)]
    last = max((turn.index for turn in turns), default=-1)
    return [turn for turn in turns if not turn.is_over or turn.index == last]
