"""The commands of `dev.py`, by name."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from stack.cluster import ROOT
from stack.redis_server import CHOICE

CALLED_IN = "DEV_PY_FOLDER"  # the variable in which dev.py passes on where it was called
LINTERS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    "import-linter": ["lint-imports", "--no-cache"],
}


def run(args: list[str]) -> int:
    """Runs Redis, the API and a worker until Ctrl-C (this is the default)."""
    from stack.run import main

    return main(args)


def demo(args: list[str]) -> int:
    """Kills the worker in the middle of an answer, and shows which worker continues and what the answer cost."""
    return become(["-m", "stack.demo", *args])


def test(args: list[str]) -> int:
    """Runs the tests. Arguments go to pytest: `dev.py test -x -k lease`, `dev.py test -m realserver`.

    `dev.py test --redis PATH` runs them on another server: the path or the name of a redis-server or a valkey-server.
    """
    if args[:1] == ["--redis"]:
        if len(args) < 2 or not (path := shutil.which(args[1])):
            print(f"test: --redis needs a redis-server or valkey-server, not: {' '.join(args[1:2])}", file=sys.stderr)
            return 2
        os.environ[CHOICE] = str(Path(path).absolute())
        args = args[2:]
    return become(["-m", "pytest", *args])


def lint(_: list[str]) -> int:
    """Checks formatting, lint, types and the direction of imports; takes no arguments and changes nothing."""
    tools = Path(sys.executable).parent
    failed = []
    for name, (tool, *options) in LINTERS.items():
        print(f"-- {name}", flush=True)
        if subprocess.run([str(tools / tool), *options], check=False, cwd=ROOT).returncode:
            failed.append(name)
    if failed:
        print(f"lint: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def bench(args: list[str]) -> int:
    """The benchmarks: `dev.py bench` lists them, `dev.py bench NAME [args]` runs one."""
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))
    if not args:
        print("\n".join(names) or "there are none yet")
        return 0
    if args[0] not in names:
        print(f"bench: no such benchmark: {args[0]} (there are: {', '.join(names)})", file=sys.stderr)
        return 2
    return become(["-m", f"benchmarks.{args[0]}", *args[1:]])


def chaos(args: list[str]) -> int:
    """Breaks everything at random under load, then reconciles every turn: `dev.py chaos --minutes 5 [--seed 7]`."""
    return become(["-m", "chaos", *args])


def fuzz(args: list[str]) -> int:
    """Sends random requests to a service of its own: `dev.py fuzz --requests 5000 [--seed 7]`; 0 x 5xx is allowed."""
    from stack.fuzz import main

    return main(args)


def docs(args: list[str]) -> int:
    """Builds the documentation site into .turnwire/site; `dev.py docs --serve` shows it and follows edits."""
    from stack.site import build, serve

    if args not in ([], ["--serve"]):
        print(f"docs: no such option: {' '.join(args)} (there is: --serve)", file=sys.stderr)
        return 2
    return serve() if args else build()


def redis(args: list[str]) -> int:
    """Sends one Redis command to the service that `dev.py` runs: `dev.py redis GET 'lease:chat:{demo}:0'`."""
    from stack.redis_command import main

    return main(args)


def keys(args: list[str]) -> int:
    """Makes an API key: `dev.py keys new --name NAME --tenant TENANT --append keys.toml`."""
    os.chdir(os.environ.get(CALLED_IN, ROOT))  # where the file of --append is meant to be
    os.environ["PYTHONPATH"] = str(ROOT)
    return become(["-m", "turnwire.api", "keys", *args])


def cli(args: list[str]) -> int:
    """The command `turnwire`, for the service that `dev.py` runs: `dev.py cli send demo hello`, `dev.py cli --help`."""
    from stack import run as running
    from stack.own_key import PLAIN_FILE
    from stack.redis_command import URL_FILE

    found = {"TURNWIRE_API_KEY": PLAIN_FILE, "TURNWIRE_REDIS_URL": URL_FILE.name}  # `doctor` asks Redis, too
    api_url = running.STATE / running.API_URL
    if api_url.exists() and "TURNWIRE_URL" not in os.environ:
        os.environ["TURNWIRE_URL"] = api_url.read_text(encoding="utf-8")
        for variable, name in found.items():
            if (running.STATE / name).exists():
                os.environ.setdefault(variable, (running.STATE / name).read_text(encoding="utf-8"))
    os.chdir(os.environ.get(CALLED_IN, ROOT))  # where the files that the command names are meant to be
    os.environ["PYTHONPATH"] = str(ROOT)
    return become(["-m", "turnwire", *args])


def become(args: list[str]) -> int:
    """Replace this process, so that signals and the exit status are the command's own."""
    os.execv(sys.executable, [sys.executable, *args])  # noqa: S606


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": run,
    "demo": demo,
    "test": test,
    "lint": lint,
    "bench": bench,
    "chaos": chaos,
    "fuzz": fuzz,
    "redis": redis,
    "docs": docs,
    "keys": keys,
    "cli": cli,
}
OWN_HELP = {"run", "chaos", "fuzz", "cli"}  # commands that parse their own options


def main(args: list[str]) -> int:
    """Run the command that `args` name. Returns the exit status."""
    name, rest = (args[0], args[1:]) if args and not args[0].startswith("-") else ("run", args)
    command = COMMANDS.get(name)
    if command is None:
        print(f"dev.py: no such command: {name} (there are: {', '.join(COMMANDS)})", file=sys.stderr)
        return 2
    if rest[:1] in (["-h"], ["--help"]) and name not in OWN_HELP:
        print(f"dev.py {name}: {command.__doc__}")
        return 0
    os.chdir(ROOT)
    return command(rest)
