"""`dev.py run` runs the whole service in one terminal."""

import argparse
import contextlib
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from stack.cluster import ROOT, Stack, loopback
from stack.commands import CALLED_IN
from stack.foreground import Interrupts, LogTail, StopAskedError, say
from stack.own_key import OwnKey, own_key
from stack.process import ProcessError, free_port
from stack.redis_command import URL_FILE
from stack.redis_server import RedisServer, ServerNotFoundError, server_version
from turnwire.shared.errors import SettingsError
from turnwire.shared.settings import Settings

STATE = ROOT / ".turnwire"
API_URL = "api-url"  # the file in it that `dev.py cli` reads
LOOK_INTERVAL_S = 0.1
KILLED_BY_USER = 130


def main(args: list[str]) -> int:
    """Run Redis (unless TURNWIRE_REDIS_URL is set), the API and a worker, until Ctrl-C. Return the exit status."""
    options = parser().parse_args(args)
    try:
        settings = Settings.from_env(os.environ)
        with Interrupts() as interrupts, only_one(STATE), own_redis() as redis, contextlib.ExitStack() as cleanup:
            env = named_from(os.environ.get(CALLED_IN, ""), os.environ)
            env.setdefault("TURNWIRE_DEVELOPMENT", "1")
            env["TURNWIRE_PORT"] = str(choose_port(settings))
            shutil.rmtree(STATE / "log", ignore_errors=True)  # the logs would grow for ever otherwise
            key = own_key(settings, STATE)
            env |= key.env if key else {}
            url_file = STATE / URL_FILE.name
            url_file.touch(mode=0o600)  # the URL may hold a password
            url_file.write_text(redis.url if redis else settings.redis_url, encoding="utf-8")
            cleanup.callback(url_file.unlink, missing_ok=True)
            api_url = STATE / API_URL
            cleanup.callback(api_url.unlink, missing_ok=True)
            stack = Stack(STATE / "log", workers=options.workers, env=env, redis=redis)
            api_url.write_text(stack.base_urls[0], encoding="utf-8")
            return Terminal(stack, interrupts, quiet=options.quiet).run(settings, redis, key)
    except (SettingsError, ServerNotFoundError, ProcessError, TimeoutError, UsageError) as error:
        say(f"stack: {error}")
        return 1


def named_from(folder: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings. A relative path in one of them begins at `folder`, where the command was given."""
    return {
        name: str(Path(folder, value)) if name.endswith("_FILE") and value else value
        for name, value in environ.items()
        if name.startswith("TURNWIRE_")
    }


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dev.py run",
        description="Runs Redis, the API and a worker until Ctrl-C. Settings come from TURNWIRE_* variables: "
        "with TURNWIRE_REDIS_URL it uses that server instead of its own, with TURNWIRE_LLM_BASE_URL that "
        "model instead of the offline one. Data and logs are kept in .turnwire/.",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="how many workers (default: 1)")
    parser.add_argument("--quiet", action="store_true", help="do not show the logs of API and worker")
    return parser


class UsageError(Exception):
    """The service cannot start like this. The message says what to change."""


class Terminal:
    """Shows a stack's logs while it runs, notices a child that dies, and stops all children properly."""

    def __init__(self, stack: Stack, interrupts: Interrupts, *, quiet: bool) -> None:
        self._stack = stack
        self._interrupts = interrupts
        labels = [service.name if len(stack.worker) > 1 else service.name[:-1] for service in stack.services]
        self._tails = [LogTail(s, label) for s, label in zip(stack.services, labels, strict=True) if not quiet]

    def run(self, settings: Settings, redis: RedisServer | None, key: OwnKey | None) -> int:
        """Run the service. Returns 0 after a proper stop, 1 if a child ended by itself, 130 after a second Ctrl-C.

        An API or a worker that somebody killed is started again, so that one can watch a turn survive it.
        """
        try:
            self._stack.start(tick=self._while_starting)
        except StopAskedError:
            return 0
        self._forward()
        say(introduction(self._stack, settings, redis, key))
        watched = self._stack.services + ([redis.service] if redis else [])
        dead = None
        while not dead and not self._interrupts.wait(LOOK_INTERVAL_S):
            self._forward()
            dead = next((service for service in watched if not service.running), None)
            if dead and dead in self._stack.services and (dead.exit_code or 0) < 0:
                say(f"stack: {dead.name} was killed by signal {-(dead.exit_code or 0)}; starting it again")
                dead.start()
                dead = None
        if dead:
            say(f"stack: {dead.name} ended by itself with code {dead.exit_code}; its last lines:")
            say(dead.last_lines())
        say("stack: stopping API, worker, Redis (Ctrl-C again to kill them) ...")
        killed = self._stack.stop(hurry=self._while_stopping)
        self._forward()
        if killed:
            say(f"stack: killed {', '.join(killed)}")
        if dead:
            return 1
        return KILLED_BY_USER if self._interrupts.count > 1 else 0

    def _forward(self) -> None:
        for tail in self._tails:
            tail.forward()

    def _while_starting(self) -> None:
        self._forward()
        if self._interrupts.count:
            raise StopAskedError

    def _while_stopping(self) -> bool:
        self._forward()
        return self._interrupts.count > 1


def introduction(stack: Stack, settings: Settings, redis: RedisServer | None, key: OwnKey | None = None) -> str:
    """Return the text for somebody who sees the service for the first time."""
    base_url = stack.base_urls[0]
    redis_url = redis.url if redis else without_password(settings.redis_url)
    where = f"{server_version()}, data in .turnwire/data" if redis else "from TURNWIRE_REDIS_URL"
    model = "offline demo (set TURNWIRE_LLM_BASE_URL for a real one)"
    if settings.hooks:
        model = f"hooks {settings.hooks}"
    elif settings.models_file:
        model = f"those of {settings.models_file}"
    elif settings.llm_base_url:
        model = without_password(settings.llm_base_url)
    turn = f"{base_url}/v1/sessions/demo/turns/0"
    shown_key = f"\n  key     {key.secret} (others can reach this address)" if key else ""
    page = f"{base_url}/#token={key.secret}" if key else f"{base_url}/"
    sent_key = f" -H 'x-api-key: {key.secret}'" if key else ""
    return f"""
Turnwire is ready.
  API     {base_url}
  page    {page}
  Redis   {redis_url} ({where})
  model   {model}{shown_key}

  try     curl -N -X POST {turn}{sent_key} -H 'Content-Type: application/json' -d '{{"message":"hello"}}'
  or      python3 dev.py cli send demo hello
  look    python3 dev.py redis GET 'lease:chat:{{demo}}:0'
  kill    kill -9 {stack.worker[0].pid}    (the worker, while it speaks: the stream goes on)
  stop    Ctrl-C
"""


def without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def choose_port(settings: Settings) -> int:
    """Return the port that was asked for, or else 8000 or a free one. Raises UsageError if the port is taken."""
    asked = os.environ.get("TURNWIRE_PORT") or os.environ.get("PORT")
    if asked == "0" or (not asked and not is_free(settings)):
        port = free_port()
        if not asked:
            say(f"stack: port {settings.port} is taken, using {port}")
        return port
    if not is_free(settings):
        raise UsageError(f"port {asked} is taken")
    return settings.port


def is_free(settings: Settings) -> bool:
    host = loopback(settings.host).strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closed port may linger
        try:
            probe.bind((host, settings.port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def own_redis() -> Iterator[RedisServer | None]:
    """Return a server with its data in .turnwire/data, or None if the user brings one."""
    if os.environ.get("TURNWIRE_REDIS_URL"):
        yield None
        return
    with RedisServer(STATE / "data", aof=True, fsync="everysec", port=0) as server:
        yield server


@contextlib.contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Lock the data directory: two servers would destroy its data. Raises UsageError if another run holds the lock."""
    state.mkdir(exist_ok=True)
    with (state / "run.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError("the service of this checkout runs already; stop it first") from None
        yield
