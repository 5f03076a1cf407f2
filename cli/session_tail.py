"""Shows the turns of a session as they come."""

import sys
from contextlib import suppress
from typing import Any, Final

import typer

from turnwire.cli import screen
from turnwire.cli.api_client import Api
from turnwire.cli.exits import Exit
from turnwire.cli.following import follow, follow_session
from turnwire.cli.live import Live
from turnwire.cli.named_turn import NamedTurn
from turnwire.cli.screen import DIM, GREEN, RED, note
from turnwire.cli.summary import summary
from turnwire.cli.turns import message_text

SUSPENDED: Final = "session.run.suspended"
MESSAGE_CHARACTERS: Final = 100
_WAITING: Final = {
    "queued": "turn {turnIndex} waits",
    "suspended": "turn {turnIndex} is suspended",
    "gone": "turn {turnIndex} was taken back: the queue had no room for it",
}


def tail_session(api: Api, session: str, after: str | None, retry_s: float, *, as_json: bool) -> None:
    """Show each turn of the session as it comes, until Ctrl-C; with `as_json`, the changes of their statuses."""
    shown = _Shown(api, session, retry_s)
    try:
        for change in follow_session(api, session, after=after, retry_s=retry_s, on_break=_on_break):
            if as_json:
                screen.say(screen.as_json(change))
                sys.stdout.flush()
            else:
                shown.take(change["data"])
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None


def _on_break(why: str) -> None:
    note(f"connection lost ({why}); connecting again" if why else "connected again; nothing was missed", DIM)


class _Shown:
    """What was shown of each turn. A turn that is suspended makes room for the others, and is gone on with later."""

    def __init__(self, api: Api, session: str, retry_s: float) -> None:
        self._api = api
        self._session = session
        self._retry_s = retry_s
        self._live: dict[int, Live] = {}
        self._cursors: dict[int, str] = {}
        self._attempts: dict[int, int] = {}

    def take(self, turn: dict[str, Any]) -> None:
        """Show the turn from where it was left, if there is more to show than that it waits."""
        index, attempt, status = turn["turnIndex"], turn["attempt"], turn["status"]
        if status in _WAITING:
            if self._attempts.get(index, -1) < attempt:
                note(_WAITING[status].format(**turn), DIM)
        elif self._attempts.get(index, 0) < attempt:
            with suppress(_Paused):
                self._show(NamedTurn(self._session, index), attempt)

    def _show(self, turn: NamedTurn, attempt: int) -> None:
        """Show the turn, which has come to this attempt. An earlier attempt that was suspended goes on in it.

        Raises:
            _Paused: this attempt, or a later one, is suspended.
        """
        live = self._live.get(turn.index)
        if live is None:
            live = self._live[turn.index] = Live(turn.session, turn.index)
            message = message_text(self._api.get(turn.path)["message"])
            note(f"turn {turn.index}: {screen.in_a_line(message, MESSAGE_CHARACTERS)}", DIM)
        after = self._cursors.get(turn.index)
        following = follow(
            self._api, turn.session, turn.index, after=after, retry_s=self._retry_s, answered=True, on_break=_on_break
        )
        for event in following:
            live.show(event)
            if "id" in event:
                self._cursors[turn.index] = event["id"]
                self._attempts[turn.index] = int(event["id"].partition("-")[0])
            if event["type"] == SUSPENDED and self._attempts[turn.index] >= attempt:
                raise _Paused
        record = self._api.get(turn.path)
        live.end(record.get("final_text"))
        note(summary(record), GREEN if record["status"] == "completed" else RED)
        del self._live[turn.index]  # if it is asked again, it begins with a new line


class _Paused(Exception):
    """The turn is suspended."""
