"""Runs a private PostgreSQL with its own data and unix socket, which are removed at the end."""

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("initdb", "pg_ctl", "postgres")


def find_programs() -> Path | None:
    """Return the directory of PostgreSQL's programs, on the PATH or where Debian keeps them; None if there is none."""
    places = [Path(name) for name in os.get_exec_path()]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if all((place / name).exists() for name in PROGRAMS)), None)


def find_user() -> pwd.struct_passwd | None:
    """Return the user who runs PostgreSQL: the one who runs the tests, but not root, which PostgreSQL refuses."""
    users = {user.pw_name: user for user in pwd.getpwall()}
    names = ["postgres", "nobody"] if os.getuid() == 0 else [pwd.getpwuid(os.getuid()).pw_name]
    return next((users[name] for name in names if name in users), None)


@contextmanager
def running_postgres(programs: Path, user: pwd.struct_passwd) -> Iterator[str]:
    """Run it. Yields its DSN. Its directory is not pytest's, because other users may not read that."""
    with tempfile.TemporaryDirectory(prefix="turnwire-pg-") as directory:
        os.chown(directory, user.pw_uid, user.pw_gid)
        switch: dict[str, Any] = {}
        if os.getuid() == 0:  # the server refuses to run as root
            switch = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

        def run(program: str, *options: str) -> None:
            argv = [str(programs / program), "-D", f"{directory}/data", *options]
            subprocess.run(argv, cwd=directory, check=True, stdout=subprocess.DEVNULL, timeout=30, **switch)

        run("initdb", "--username=chats", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8")
        run("pg_ctl", "start", "-w", "-l", f"{directory}/log", "-o", f"-k {directory} -c listen_addresses= -F")
        try:
            yield f"postgresql://chats@/postgres?host={directory}"
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")
