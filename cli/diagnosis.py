"""`doctor` checks Redis and the API."""

import os
from typing import Annotated

import typer

from turnwire.cli import options, screen
from turnwire.cli.api_client import connected
from turnwire.cli.exits import CommandError, Exit


def doctor(
    context: typer.Context,
    strict: Annotated[bool, typer.Option("--strict", help="end with 1 for a warning, too")] = False,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Check Redis and the API: what would lose turns or make them slow, and how to mend it.

    Redis is the one that TURNWIRE_REDIS_URL names, as for the processes of the service: run the command with their
    settings. Each finding says what it means, and has a command to paste. Nothing of a turn is changed.
    """
    import msgspec

    from turnwire.cli.doctor.examination import examine_redis, show
    from turnwire.cli.doctor.findings import Level
    from turnwire.cli.doctor.service import check_api
    from turnwire.shared.errors import SettingsError
    from turnwire.shared.settings import Settings

    source = context.get_parameter_source("url")
    with connected(url, key_file) as api:
        try:
            found = list(examine_redis(Settings.from_env(os.environ)))
        except SettingsError as error:
            raise CommandError(Exit.USAGE, str(error)) from None
        asked_for = source is not None and source.name != "DEFAULT"
        found += [msgspec.structs.replace(each, where=api.url) for each in check_api(api, asked_for=asked_for)]
    levels = {finding.level for finding in found}
    if as_json:
        document = {"findings": msgspec.to_builtins(found), "is_well": Level.FAIL not in levels}
        screen.say(screen.as_json(document))
    else:
        show(found)
    if Level.FAIL in levels or (strict and Level.WARN in levels):
        raise typer.Exit(Exit.FAILED)
