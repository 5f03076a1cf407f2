"""`python -m api tokens revoke` takes tokens back before they expire. It writes to Redis, so it needs its settings."""

import argparse
import asyncio
import os
import sys
from typing import Final

import msgspec

from turnwire.api.access.revoked import Kind, Revocation
from turnwire.shared.errors import SettingsError, StoreUnavailable
from turnwire.shared.key_file import is_tenant
from turnwire.shared.logs import without_secrets
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect_data_and_queue, disconnect
from turnwire.shared.store.revocations import Revocations

ABOUT: Final = "Take tokens of a tenant back before they expire. Streams that began with them end within seconds."
DAY_S: Final = 86_400


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `tokens` with its own commands."""
    tokens = commands.add_parser("tokens", help="revoke tokens", description="Commands for tokens.")
    revoke = tokens.add_subparsers(dest="tokens_command", required=True).add_parser(
        "revoke", help=ABOUT, description=ABOUT
    )
    revoke.add_argument("--tenant", required=True, help="whose tokens they are")
    named = revoke.add_mutually_exclusive_group(required=True)
    named.add_argument("--id", help="the token with this id (jti)")
    named.add_argument("--user", help="all tokens of this user that were issued before now")
    named.add_argument("--key", help="all tokens that this API key has made; jwt: all of the identity provider")
    revoke.add_argument(
        "--keep-s", type=int, default=DAY_S, metavar="SECONDS",
        help="the longest life of such a token (%(default)s)",
    )  # fmt: skip


def revoke_tokens(options: argparse.Namespace) -> int:
    """Revoke them. Returns the exit status: 2 if a value or a setting does not fit, 1 if Redis does not answer."""
    kind = next(kind for kind in ("id", "user", "key") if getattr(options, kind) is not None)
    try:
        if not is_tenant(options.tenant) or options.keep_s < 1:
            raise SettingsError("--tenant must be the name of a tenant, and --keep-s at least 1")
        revocation = Revocation(options.tenant, msgspec.convert(kind, Kind), getattr(options, kind))
        asyncio.run(_revoke(Settings.from_env(os.environ), revocation, options.keep_s))
    except (SettingsError, StoreUnavailable) as error:
        sys.stderr.write(without_secrets(f"turnwire api: {error}\n", os.environ))
        return 2 if isinstance(error, SettingsError) else 1
    sys.stderr.write("The tokens are revoked.\n")
    return 0


async def _revoke(settings: Settings, revocation: Revocation, keep_s: int) -> None:
    data, queue = connect_data_and_queue(settings, connections=1)
    try:
        await Revocations(data, settings).add(revocation.field, keep_s)
    finally:
        await disconnect(data, queue)
