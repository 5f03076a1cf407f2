"""`python -m api keys new` makes an API key. It prints the key once; the server needs only its digest."""

import argparse
import sys
from pathlib import Path
from typing import Final

from turnwire.api.access.identity import GIVEN
from turnwire.api.access.new_key import append_block, new_key
from turnwire.shared.errors import SettingsError

ABOUT: Final = (
    "Make a random API key. It is printed once, on standard output; nobody can read it again. The [[key]] block with "
    "its digest belongs into the file that TURNWIRE_API_KEYS_FILE names."
)


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `keys` with its own commands."""
    keys = commands.add_parser("keys", help="make an API key", description="Commands for API keys.")
    new = keys.add_subparsers(dest="keys_command", required=True).add_parser("new", help=ABOUT, description=ABOUT)
    new.add_argument("--name", required=True, help="what logs call the key; each key of a file has another one")
    new.add_argument("--tenant", required=True, help="whose sessions it opens")
    new.add_argument(
        "--scope", action="append", choices=sorted(GIVEN), dest="scopes",
        help="what it may do; may be given several times; default: turns, which includes read",
    )  # fmt: skip
    new.add_argument("--user", help="it opens only sessions of this user")
    new.add_argument(
        "--append", type=Path, metavar="FILE",
        help="append the block to this key file, and print only the key; an API that runs reads it within a second",
    )  # fmt: skip


def make_key(options: argparse.Namespace) -> int:
    """Make the key and print it. Returns the exit status: 2 if a value or the file does not fit."""
    try:
        key = new_key(options.name, options.tenant, options.scopes or ["turns"], options.user)
        if options.append:
            append_block(options.append, key.block)
    except (SettingsError, OSError) as error:
        sys.stderr.write(f"turnwire api: {error}\n")
        return 2
    sys.stdout.write(key.secret + "\n" + ("" if options.append else "\n" + key.block))
    where = f"its block is in {options.append}" if options.append else "put the block into TURNWIRE_API_KEYS_FILE"
    sys.stderr.write(f"This key is shown only now; {where}.\n")
    return 0
