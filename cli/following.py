"""Follows one turn to its end, over as many connections as that takes."""

import json
import time
from collections.abc import Callable, Generator
from typing import Any, Final

from turnwire.cli.api_client import Api, Unreachable, turn_path

TERMINAL: Final = frozenset({"session.run.completed", "session.run.failed"})
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
    """Yield the events of a turn after a cursor, until its terminal event.

    A connection that breaks is made again, at the last cursor. `on_break` is told the reason first, and once more, with
    an empty text, when events come again. `answered`: whether the API has answered this command before, so that it is
    worth while to wait for the first connection, too.

    Raises:
        Unreachable: the API has never answered, or not for `retry_s` seconds.
        Refused: the API refuses to show the turn, for example because the credentials have expired.
    """
    broken_at_s: float | None = None
    pause_s = FIRST_PAUSE_S
    while True:
        why = "the API ended the stream"
        try:
            with api.lines(f"{turn_path(session, index)}/events", after=after) as lines:
                answered = True
                for line in lines:
                    event = json.loads(line)
                    if broken_at_s is not None:
                        broken_at_s, pause_s = None, FIRST_PAUSE_S
                        on_break("")
                    after = event.get("id", after)
                    yield event
                    if event["type"] in TERMINAL:
                        return
        except Unreachable as error:
            if not answered:
                raise
            why = error.text
            if broken_at_s is not None and time.monotonic() - broken_at_s > retry_s:
                raise Unreachable(why, f"go on with: turnwire tail {session} {index} --after {after}") from None
        if broken_at_s is None:
            broken_at_s = time.monotonic()
            on_break(why)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
