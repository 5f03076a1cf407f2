"""Shows a turn while it runs: live on a terminal, and as the final answer alone in a pipe."""

import sys

from turnwire.cli import screen
from turnwire.cli.following import Event
from turnwire.cli.screen import DIM, RED, note, painted
from turnwire.cli.transcript import ERROR, NOTE, REASONING, TEXT, Transcript


class Live:
    """Shows events as they come.

    On a terminal, text appears as it arrives, reasoning dimmed. In a pipe, stdout gets the final answer and nothing
    else, when the turn has ended: what a dead worker had written may be taken back until then. Notes go to stderr.
    """

    def __init__(self, session: str, index: int) -> None:
        self.transcript = Transcript(session, index)
        self._streams = screen.is_terminal(sys.stdout)
        self._open = ""  # the kind of text whose line has no end yet

    def show(self, event: Event) -> None:
        """Show the next event."""
        for kind, text in self.transcript.take(event):
            if kind in {NOTE, ERROR}:
                self.note(text, RED if kind == ERROR else DIM)
            elif self._streams:
                self._flow(kind, text)

    def note(self, text: str, style: str = DIM) -> None:
        """Show a line about what happened."""
        self._end_line()
        note(text, style)

    def end(self, final_text: str | None) -> None:
        """Show the rest when the turn has ended. `final_text`: the answer that the product keeps, if there is one."""
        text = self.transcript.text if final_text is None else final_text
        if not self._streams:
            sys.stdout.write(screen.visible(text).removesuffix("\n") + "\n" if text else "")
        elif text != self.transcript.text:
            self.note("the product keeps another text:")
            self._flow(TEXT, screen.visible(text))
        self._end_line()
        sys.stdout.flush()

    def _flow(self, kind: str, text: str) -> None:
        if not text:
            return
        if self._open != kind:
            self._end_line()
        sys.stdout.write(painted(text, DIM) if kind == REASONING else text)
        sys.stdout.flush()
        self._open = TEXT if kind == TEXT else REASONING
        if text.endswith("\n"):
            self._open = ""

    def _end_line(self) -> None:
        if self._open:
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._open = ""


class JsonLines:
    """Prints each event as a line of JSON."""

    def __init__(self, session: str, index: int) -> None:
        self.transcript = Transcript(session, index)

    def show(self, event: Event) -> None:
        """Print the event at once."""
        self.transcript.take(event)
        screen.say(screen.as_json(event))
        sys.stdout.flush()

    def note(self, text: str, style: str = DIM) -> None:
        """Show a line about what happened, on stderr."""
        note(text, style)

    def end(self, final_text: str | None) -> None:
        """Do nothing, because nothing was held back."""
