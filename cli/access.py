"""`keys` makes API keys, and `tokens` makes and revokes tokens for browsers."""

import argparse
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from turnwire.cli import options, screen
from turnwire.cli.api_client import connected
from turnwire.cli.exits import CommandError, Exit
from turnwire.cli.screen import note

keys_app = typer.Typer(no_args_is_help=True, help="Make API keys.", rich_markup_mode="rich")
tokens_app = typer.Typer(no_args_is_help=True, help="Make and revoke tokens for browsers.", rich_markup_mode="rich")


class KeyScope(StrEnum):
    """What an API key may do."""

    TURNS = "turns"
    READ = "read"
    TOKENS = "tokens"
    METRICS = "metrics"
    ADMIN = "admin"


class TokenScope(StrEnum):
    """What a token may do."""

    TURNS = "turns"
    READ = "read"


@keys_app.command("new", epilog="Example:\n  turnwire keys new --name acme-1 --tenant acme --append keys.toml")
def new_key(
    name: Annotated[str, typer.Option("--name", help="what logs call the key", show_default=False)],
    tenant: Annotated[str, typer.Option("--tenant", help="whose sessions it opens", show_default=False)],
    scope: Annotated[
        list[KeyScope] | None, typer.Option("--scope", help="what it may do; may be given several times")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="it opens only sessions of this user")] = None,
    append: Annotated[
        Path | None, typer.Option("--append", metavar="FILE", help="append its block to this key file")
    ] = None,
) -> None:
    """Make an API key, without asking any server. It is printed once, and nobody can read it again.

    The block with its digest belongs into the file that TURNWIRE_API_KEYS_FILE names. The default scope is turns, which
    includes read.
    """
    from turnwire.api.keys import make_key

    scopes = [each.value for each in scope or []]
    made = make_key(argparse.Namespace(name=name, tenant=tenant, scopes=scopes, user=user, append=append))
    if made:
        raise typer.Exit(Exit.USAGE)


@tokens_app.command("new", epilog="Example:\n  turnwire tokens new --session demo --scope turns --ttl 3600")
def new_token(
    session: Annotated[str | None, typer.Option("--session", help="the one session that it opens")] = None,
    prefix: Annotated[str | None, typer.Option("--session-prefix", help="it opens each session that begins so")] = None,
    user: Annotated[str | None, typer.Option("--user", help="it opens only sessions of this user")] = None,
    scope: Annotated[
        list[TokenScope] | None, typer.Option("--scope", help="what it may do; may be given twice; default: read")
    ] = None,
    ttl: Annotated[int, typer.Option("--ttl", min=1, metavar="SECONDS", help="after this time it expires")] = 900,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Make a token for a browser. It opens one session, or all whose names begin alike."""
    if (session is None) == (prefix is None):
        raise CommandError(Exit.USAGE, "give either --session or --session-prefix")
    scopes = [each.value for each in scope or [TokenScope.READ]]
    body = {"session": session, "session_prefix": prefix, "user": user, "scopes": scopes, "ttl_s": ttl}
    with connected(url, key_file) as api:
        made = api.post("/v1/tokens", body).json()
    if as_json:
        screen.say(screen.as_json(made))
        return
    screen.say(screen.visible(made["token"]))
    note(f"it expires in {screen.duration(ttl * 1000)}; `turnwire tokens revoke --id {made['id']}` takes it back")


@tokens_app.command("revoke", epilog="Example:\n  turnwire tokens revoke --user ada")
def revoke_tokens(
    token: Annotated[str | None, typer.Option("--token", help="this token; - reads it from standard input")] = None,
    token_id: Annotated[str | None, typer.Option("--id", help="the token with this id")] = None,
    user: Annotated[str | None, typer.Option("--user", help="all tokens of this user")] = None,
    key: Annotated[str | None, typer.Option("--key", help="all tokens that the API key of this name has made")] = None,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Take tokens of your tenant back before they expire. Streams that began with them end within seconds."""
    named = {"token": token, "id": token_id, "user": user, "key": key}
    if sum(value is not None for value in named.values()) != 1:
        raise CommandError(Exit.USAGE, "give exactly one of --token, --id, --user and --key")
    if token == "-":  # noqa: S105 - no token, but the sign for standard input
        named["token"] = typer.get_text_stream("stdin").read().strip()
    with connected(url, key_file) as api:
        answer = api.post("/v1/tokens/revoke", named).json()
    if as_json:
        screen.say(screen.as_json(answer))
    else:
        note("the tokens are revoked")
