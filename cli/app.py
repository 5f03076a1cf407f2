"""Puts the commands of `turnwire` together, and ends the process with the exit code of the one that was asked."""

import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

import turnwire
from turnwire.cli import access, acting, diagnosis, operating, processes, screen, story, talking, turns
from turnwire.cli.exits import CommandError, Exit

NAME: Final = "turnwire"
TALK, LOOK, ACT, ACCESS, RUN = "Ask and follow", "Look", "Act", "Access", "Run and check"


ABOUT_ALL = """
Settings: TURNWIRE_URL says where the API is, TURNWIRE_API_KEY holds a key or a token for it.

Exit codes: 0 done, 1 the turn failed or the request was refused, 2 wrong usage or settings, 3 nothing answers,
4 credentials refused, 130 Ctrl-C.

Start here:

  turnwire dev                 runs the whole service on this machine
  turnwire send demo 'hello'   asks a turn, and streams its answer
  turnwire show demo 0         who ran it, why it waits, what it cost
  turnwire doctor              what is wrong with Redis, and how to mend it
"""


def _paragraphs(text: str) -> str:
    """Return a text with each paragraph in one line, because the terminal wraps it; indented lines stay."""
    joined = [
        paragraph if paragraph.startswith("  ") else " ".join(paragraph.split())
        for paragraph in text.strip().split("\n\n")
    ]
    return "\n\n".join(joined).replace(":\n\n  ", ":\n  ")


class CommandGroup(TyperGroup):
    """Turns a CommandError into a line on stderr and its exit code, and Ctrl-C into 130."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked."""
        try:
            return super().invoke(ctx)
        except CommandError as error:
            screen.note(f"{NAME}: {screen.visible(error.text)}", screen.RED)
            if error.hint:
                screen.note(f"  {screen.visible(error.hint)}")
            raise typer.Exit(error.code) from None
        except KeyboardInterrupt:
            raise typer.Exit(Exit.INTERRUPTED) from None


app = typer.Typer(
    name=NAME,
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=_paragraphs(ABOUT_ALL),
)


def _version(*, asked: bool) -> None:
    if asked:
        screen.say(turnwire.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="print the version, and exit", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Ask chat turns that survive crashes, and operate the service that runs them."""


def _add(panel: str, function: Callable[..., None], *examples: str, name: str | None = None, **options: Any) -> None:
    """Add a command. Its help is its docstring."""
    epilog = "\n".join(["Examples:", *(f"  {example}" for example in examples)]) if examples else None
    app.command(
        name, rich_help_panel=panel, help=_paragraphs(inspect.getdoc(function) or ""), epilog=epilog, **options
    )(function)


_add(
    TALK, talking.send,
    "turnwire send demo 'hello'               asks the next turn of demo",
    "git diff | turnwire send review - --new  reads the message from stdin",
    "answer=$(turnwire send demo 'a word')    keeps the final answer only",
    "turnwire send demo hi --json | jq .type  prints every event",
)  # fmt: skip
_add(
    TALK, talking.tail,
    "turnwire tail demo                 each turn of the session demo, as it comes",
    "turnwire tail demo --json          how their statuses change",
    "turnwire tail demo 3 --after 1-17  goes on after an event",
    "turnwire tail chat:demo:3          the turn with this run id",
)  # fmt: skip
_add(
    LOOK, turns.turns,
    "turnwire turns demo                        the turns of a session",
    "turnwire turns --state queued              what waits, and for what",
    "turnwire turns --state failed --project legal --json",
)  # fmt: skip
_add(
    LOOK, story.show,
    "turnwire show demo       the latest turn of the session demo",
    "turnwire show demo 3 --json | jq .lease",
    "turnwire show chat:acme~demo:3   a turn of another tenant",
)  # fmt: skip
_add(LOOK, operating.leases, "turnwire leases --watch", "turnwire leases --json | jq -r '.[].worker'")
_add(LOOK, operating.workers, "turnwire workers --watch", "turnwire workers --json | jq '.[] | select(.is_alive|not)'")
_add(LOOK, operating.queue, "turnwire queue --watch", "turnwire queue --json | jq .jobs")
_add(LOOK, operating.usage, "turnwire usage --session demo", "turnwire usage --all --json")
_add(LOOK, operating.info, "turnwire info")
_add(TALK, turns.cancel, "turnwire cancel demo 3 --reason 'asked twice'", "turnwire cancel chat:demo:3")
_add(TALK, turns.signal, "turnwire signal demo 3 approval true", "turnwire signal demo 3 form - < form.json")
_add(ACT, acting.requeue, "turnwire requeue chat:demo:3")
_add(ACT, acting.drain, "turnwire drain host/4711/9f3c21")
_add(ACT, acting.pause, "turnwire pause project legal", "turnwire pause tenant acme")
_add(ACT, acting.resume, "turnwire resume project legal")
app.add_typer(access.keys_app, name="keys", rich_help_panel=ACCESS)
app.add_typer(access.tokens_app, name="tokens", rich_help_panel=ACCESS)
_add(RUN, processes.dev, "turnwire dev", "TURNWIRE_HOOKS=legal_app:hooks turnwire dev --workers 2 --port 8080")
_add(RUN, processes.api, "TURNWIRE_PORT=8080 turnwire api", "turnwire api --check")
_add(RUN, processes.worker, "TURNWIRE_HOOKS=legal_app:hooks turnwire worker", "turnwire worker --check")
_add(
    RUN, diagnosis.doctor,
    "turnwire doctor",
    "turnwire doctor --json | jq -r '.findings[] | select(.level == \"fail\") | .fix'",
)  # fmt: skip
_add(RUN, processes.bench, "turnwire bench turns", context_settings=processes.REST)
_add(RUN, processes.chaos, "turnwire chaos --minutes 5", context_settings=processes.REST)


def main() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows a `?` instead of failing
    app(prog_name=NAME)
