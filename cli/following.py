"""Follows one turn to its end, or a session, over as many connections as that takes."""

import json
import time
from collections.abc import Callable, Generator
from typing import Any, Final

from turnwire.cli.api_client import Api, Unreachable, part, turn_path

TERMINAL: Final = frozenset({"session.run.completed", "session.run.failed"})
STREAM_ENDED: Final = "session.stream.ended"
ENDED: Final = frozenset({"completed", "failed", "cancelled"})  # the states of a turn that has its terminal event
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 2.0

Event = dict[str, Any]


def follow(
    api: Api,
    session: str,
    index: int,
    *,
    after: str | None = None,
    retry_s: float,
    answered: bool = False,
    on_break: Callable[[str], None],
) -> Generator[Event]:
    """Yield the events of a turn after a cursor, until its terminal event. There may be none left.

    A connection that breaks is made again, at the last cursor. `on_break` is told why, and gets an empty text when
    events come again. `answered`: the API has answered before, so that it is worth while to wait for the first one.

    Raises:
        Unreachable: the API has never answered, or not for `retry_s` seconds.
        Refused: the API refuses to show the turn, for example because the credentials have expired.
    """
    breaks = _Breaks(on_break, retry_s, f"turnwire tail {session} {index}")
    while True:
        why, came = "the API ended the stream", False
        try:
            with api.lines(f"{turn_path(session, index)}/events", after=after) as lines:
                answered = True
                for line in lines:
                    event, came = json.loads(line), True
                    breaks.end()
                    after = event.get("id", after)
                    yield event
                    if event["type"] in TERMINAL:
                        return
            if not came and api.get(turn_path(session, index))["status"] in ENDED:
                return  # the cursor is that of the terminal event
        except Unreachable as error:
            if not answered:
                raise
            why = error.text
        breaks.wait(why, after)


def follow_session(
    api: Api, session: str, *, after: str | None = None, retry_s: float, on_break: Callable[[str], None]
) -> Generator[Event]:
    """Yield the changes of a session's turns after a cursor, without an end. The rest is as for `follow`.

    Raises:
        Unreachable: the API has never answered, or not for `retry_s` seconds.
        Refused: the API refuses to show the session, or it was erased.
    """
    breaks = _Breaks(on_break, retry_s, f"turnwire tail {session}")
    answered = False
    while True:
        why = "the API ended the stream"
        try:
            with api.lines(f"/v1/sessions/{part(session)}/events", after=after) as lines:
                answered = True
                breaks.end()  # a session may be silent for long
                for line in lines:
                    event = json.loads(line)
                    after = event.get("id", after)
                    if event["type"] != STREAM_ENDED:
                        yield event
        except Unreachable as error:
            if not answered:
                raise
            why = error.text
        breaks.wait(why, after)


class _Breaks:
    """Waits before a broken connection is made again, each time a little longer."""

    def __init__(self, on_break: Callable[[str], None], retry_s: float, command: str) -> None:
        self._on_break = on_break
        self._retry_s = retry_s
        self._command = command
        self._since_s: float | None = None
        self._pause_s = FIRST_PAUSE_S

    def wait(self, why: str, after: str | None) -> None:
        """Wait for a moment. The reason is told once for each break.

        Raises:
            Unreachable: the connection is broken for so long that nobody should wait any more.
        """
        if self._since_s is None:
            self._since_s = time.monotonic()
            self._on_break(why)
        elif time.monotonic() - self._since_s > self._retry_s:
            raise Unreachable(why, f"go on with: {self._command}{f' --after {after}' if after else ''}")
        time.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def end(self) -> None:
        """Take note that events come again."""
        if self._since_s is not None:
            self._since_s, self._pause_s = None, FIRST_PAUSE_S
            self._on_break("")
