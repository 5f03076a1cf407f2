"""`send` asks a turn, and `tail` follows one: both show it live, to its end."""

import sys
import time
import uuid
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from turnwire.cli import options, screen
from turnwire.cli.api_client import Api, Unreachable, connected, part, turn_path
from turnwire.cli.exits import CommandError, Exit
from turnwire.cli.following import follow
from turnwire.cli.live import JsonLines, Live
from turnwire.cli.named_turn import NamedTurn, check_session, named_turn
from turnwire.cli.screen import GREEN, RED, note
from turnwire.cli.session_tail import tail_session
from turnwire.cli.summary import summary

SECOND_INTERRUPT_S: Final = 2.0
ASK_AGAIN_S: Final = 0.5

RetryFor = Annotated[
    float,
    typer.Option("--retry-for", min=0, metavar="SECONDS", help="how long a broken connection is made again"),
]
CancelOnInterrupt = Annotated[
    bool, typer.Option("--cancel-on-interrupt", help="Ctrl-C cancels the turn; without it, only the second one does")
]


class OnBusy(StrEnum):
    """What happens while an earlier turn of the session is open."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    INTERRUPT = "interrupt"
    CONCURRENT = "concurrent"


def send(
    session: options.Session,
    message: Annotated[str, typer.Argument(help="the message; - reads it from standard input", show_default=False)],
    index: Annotated[int | None, typer.Option("--index", min=0, help="ask this turn; default: the next one")] = None,
    model: Annotated[str | None, typer.Option("--model", help="the model to ask")] = None,
    project: Annotated[str | None, typer.Option("--project", help="the product that answers")] = None,
    user: Annotated[str | None, typer.Option("--user", help="who asks")] = None,
    parent: Annotated[int | None, typer.Option("--parent", min=-1, help="the turn that this one follows")] = None,
    new: Annotated[bool, typer.Option("--new", help="follow no earlier turn: the answer knows no history")] = False,
    on_busy: Annotated[OnBusy, typer.Option("--on-busy", help="if an earlier turn is open")] = OnBusy.ENQUEUE,
    detach: Annotated[bool, typer.Option("--detach", help="do not wait for the answer")] = False,
    cancel_on_interrupt: CancelOnInterrupt = False,
    retry_for: RetryFor = 120.0,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Ask a turn, and stream its answer.

    The turn runs in the service, so a lost connection does not stop it: the command connects again, and goes on where
    it was. The first Ctrl-C only detaches, and the turn goes on; a second one within two seconds cancels it.

    On a terminal the answer appears live. In a pipe, stdout gets the final answer only, and with --json every event.
    """
    check_session(session)
    if new and parent is not None:
        raise CommandError(Exit.USAGE, "--new and --parent: give one of them only")
    body = {
        "message": sys.stdin.read() if message == "-" else message, "model": model, "project": project, "user": user,
        "parent": -1 if new else parent, "on_busy": on_busy.value,
    }  # fmt: skip
    with connected(url, key_file) as api:
        record = _asked(api, session, index, body, retry_for)
        if detach:
            _show_detached(record, as_json=as_json)
            return
        turn = NamedTurn(session, record["turn_index"])
        _watch(api, turn, None, retry_for, answered=True, as_json=as_json, cancels=cancel_on_interrupt)


def tail(
    session: options.SessionOrRun,
    index: options.Index = None,
    after: Annotated[str | None, typer.Option("--after", metavar="CURSOR", help="begin after this event")] = None,
    cancel_on_interrupt: CancelOnInterrupt = False,
    retry_for: RetryFor = 120.0,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Follow a session, or with an index, or a run id, one turn to its end.

    Without an index, it shows the open turns of the session, or the latest one, and then each turn that anybody asks
    there, until Ctrl-C. The turns are not disturbed by that. With --json, it prints how the statuses of turns change.

    A turn is shown from its first event, or after a cursor. One that has ended is shown as a whole.
    """
    with connected(url, key_file) as api:
        if index is None and ":" not in session:
            if cancel_on_interrupt:
                raise CommandError(Exit.USAGE, "--cancel-on-interrupt is for a single turn: give its index")
            tail_session(api, check_session(session), after, retry_for, as_json=as_json)
            return
        turn = named_turn(api, session, index)
        _watch(api, turn, after, retry_for, answered=index is None, as_json=as_json, cancels=cancel_on_interrupt)


def _asked(api: Api, session: str, index: int | None, body: dict[str, Any], retry_s: float) -> dict[str, Any]:
    """Ask the turn, once, however often the request has to be sent. Returns its record."""
    path = f"/v1/sessions/{part(session)}/turns" if index is None else turn_path(session, index)
    headers = {"prefer": "respond-async", "idempotency-key": uuid.uuid4().hex}
    until_s = time.monotonic() + retry_s
    answered_before = False
    while True:
        try:
            response = api.post(path, body, headers)
        except Unreachable:
            answered_before = answered_before or _answers(api)
            if not answered_before or time.monotonic() > until_s:
                raise
            time.sleep(ASK_AGAIN_S)
        else:
            record: dict[str, Any] = response.json()
            return record


def _answers(api: Api) -> bool:
    """Whether there is an API at all, so that it is worth while to ask again."""
    try:
        api.get("/healthz")
    except CommandError:
        return False
    return True


def _show_detached(record: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        screen.say(screen.as_json(record))
        return
    screen.say(record["run_id"])
    note(f"follow it with: turnwire tail {record['session_id']} {record['turn_index']}")


def _watch(
    api: Api, turn: NamedTurn, after: str | None, retry_s: float, *, answered: bool, as_json: bool, cancels: bool
) -> None:
    """Show the turn to its end. Ends the command with the exit code of the turn."""
    shown: Live | JsonLines = (JsonLines if as_json else Live)(turn.session, turn.index)

    def on_break(why: str) -> None:
        shown.note(f"connection lost ({why}); connecting again" if why else "connected again; nothing was missed")

    try:
        for event in follow(
            api, turn.session, turn.index, after=after, retry_s=retry_s, answered=answered, on_break=on_break
        ):
            shown.show(event)
    except KeyboardInterrupt:
        _interrupted(api, turn, shown.note, cancels=cancels)
    record = api.get(turn.path)
    shown.end(record.get("final_text"))
    if not as_json:
        note(summary(record), GREEN if record["status"] == "completed" else RED)
    if record["status"] != "completed":
        raise typer.Exit(Exit.FAILED)


def _interrupted(api: Api, turn: NamedTurn, tell: Callable[[str], None], *, cancels: bool) -> None:
    try:
        if not cancels:
            follows = f"`turnwire tail {turn.session} {turn.index}` follows it"
            tell(f"detached: the turn goes on; {follows}. Ctrl-C again cancels it.")
            time.sleep(SECOND_INTERRUPT_S)
            raise typer.Exit(Exit.INTERRUPTED)
    except KeyboardInterrupt:
        pass
    api.post(f"{turn.path}/cancel", {"reason": "interrupted at the command line"})
    tell("the turn is cancelled")
    raise typer.Exit(Exit.INTERRUPTED)
