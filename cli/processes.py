"""Starts the processes of a service. Each replaces this one, so that signals and the exit code are its own."""

import os
import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

import turnwire
from turnwire.cli.exits import CommandError, Exit

Check = Annotated[
    bool, typer.Option("--check", help="only check: settings, Redis, and what the settings name; then exit")
]
CHECKOUT: Final = Path(turnwire.__file__).resolve().parent.parent
REST: Final = {"allow_extra_args": True, "ignore_unknown_options": True}  # a command with these passes its options on


def api(check: Check = False) -> None:
    """Serve HTTP until SIGTERM or Ctrl-C. The settings are variables TURNWIRE_*: docs/settings.md.

    Exit codes: 0 after a stop in order, 1 after a fault that a new process may mend, 2 if the settings are refused.
    """
    _become("-m", "turnwire.api", *(["--check"] if check else []))


def worker(check: Check = False) -> None:
    """Run turns until SIGTERM or Ctrl-C, then drain. The settings are variables TURNWIRE_*: docs/settings.md.

    Exit codes: 0 after a stop in order, 1 after a fault that a new process may mend, 2 if the settings are refused.
    """
    _become("-m", "turnwire.worker", *(["--check"] if check else []))


def dev(context: typer.Context) -> None:
    """Run the whole service on this machine, until Ctrl-C: Redis, an API and a worker. It needs a checkout.

    All options are those of `python3 dev.py run`. Settings come from TURNWIRE_* variables.
    """
    _in_checkout("dev", "run the two processes with `turnwire api` and `turnwire worker`", "run", context.args)


def bench(context: typer.Context) -> None:
    """Run a benchmark, or list them. It needs a checkout."""
    _in_checkout("bench", "the benchmarks are not part of an installed package", "bench", context.args)


def chaos(context: typer.Context) -> None:
    """Break a service at random under load, then reconcile every turn. It needs a checkout."""
    _in_checkout("chaos", "the chaos tests are not part of an installed package", "chaos", context.args)


def _in_checkout(name: str, otherwise: str, command: str, args: list[str]) -> NoReturn:
    script = CHECKOUT / "dev.py"
    if not (script.exists() and (CHECKOUT / "stack").is_dir()):
        raise CommandError(Exit.USAGE, f"`turnwire {name}` needs a checkout of Turnwire", otherwise)
    _become(str(script), command, *args)


def _become(*args: str) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *args])  # noqa: S606
