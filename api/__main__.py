"""`python -m api` serves HTTP until it gets SIGTERM or SIGINT. Its settings: docs/settings.md.

`python -m api --check` says whether it could start. `python -m api keys new` makes an API key, and
`python -m api tokens revoke` takes tokens back.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from turnwire.api import keys, tokens
from turnwire.api.server import serve
from turnwire.api.startup_check import check
from turnwire.shared.errors import SettingsError
from turnwire.shared.logs import without_secrets
from turnwire.shared.settings import Settings

EXITS: Final = (
    "Exit status: 0 after a stop in order, 1 after a fault that a new process may mend, 2 if settings are refused."
)


def main(args: Sequence[str] | None = None) -> int:
    """Read the settings and serve. `args`: of the command line; None: those of this process.

    Returns: the exit status: 2 if the settings are refused, 1 after a crash.
    """
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__, epilog=EXITS)
    parser.add_argument("--check", action="store_true", help="only check the settings, what they name, and Redis")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    keys.add_commands(commands)
    tokens.add_commands(commands)
    options = parser.parse_args(args)
    if options.command == "keys":
        return keys.make_key(options)
    if options.command == "tokens":
        return tokens.revoke_tokens(options)
    try:
        if options.check:
            return check(Settings.from_env(os.environ), os.environ)
        return 0 if serve(Settings.from_env(os.environ)) else 1
    except SettingsError as error:
        sys.stderr.write(without_secrets(f"turnwire api: {error}\n", os.environ))
        return 2


if __name__ == "__main__":
    sys.exit(main())
