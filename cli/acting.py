"""What operators do: put a turn back, drain a worker, pause and resume a project or a tenant."""

from enum import StrEnum
from typing import Annotated

import typer

from turnwire.cli import options, screen
from turnwire.cli.api_client import connected, part
from turnwire.cli.named_turn import named_turn, run_id
from turnwire.cli.screen import note

Name = Annotated[str, typer.Argument(metavar="NAME", help="its name", show_default=False)]


class Kind(StrEnum):
    """What can be paused."""

    PROJECT = "project"
    TENANT = "tenant"


KindName = Annotated[Kind, typer.Argument(help="what it is", show_default=False)]


def requeue(
    session: options.SessionOrRun,
    index: options.Index = None,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Put an open turn back into the queue, so that a worker looks at it at once."""
    with connected(url, key_file) as api:
        turn = named_turn(api, session, index)
        tenant = "" if turn.tenant else str(api.get("/v1/info").get("tenant") or "default")
        answer = api.post(f"/v1/admin/turns/{part(run_id(turn, tenant))}/requeue").json()
    if as_json:
        screen.say(screen.as_json(answer))
    else:
        note(f"{answer['run_id']} is in the queue: {answer['status']}")


def drain(
    worker: Annotated[str, typer.Argument(metavar="WORKER", help="its id, as `turnwire workers` shows it")],
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Let a worker take no more turns, finish those that it runs, and exit."""
    with connected(url, key_file) as api:
        answer = api.post(f"/v1/admin/workers/{part(worker)}/drain").json()
    if as_json:
        screen.say(screen.as_json(answer))
    else:
        note(f"{answer['id']} drains; `turnwire workers --watch` shows when it is gone")


def pause(
    kind: KindName,
    name: Name,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Start no more turns of a project or a tenant. Those that run go on, and new ones wait."""
    _switch(kind, name, "pause", url, key_file, as_json=as_json)


def resume(
    kind: KindName,
    name: Name,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Start the turns of a paused project or tenant again."""
    _switch(kind, name, "resume", url, key_file, as_json=as_json)


def _switch(kind: Kind, name: str, action: str, url: str, key_file: options.KeyFile, *, as_json: bool) -> None:
    with connected(url, key_file) as api:
        answer = api.post(f"/v1/admin/{kind.value}s/{part(name)}/{action}").json()
    if as_json:
        screen.say(screen.as_json(answer))
    else:
        note(f"{answer['kind']} {answer['name']} {'is paused' if answer['is_paused'] else 'runs'}")
