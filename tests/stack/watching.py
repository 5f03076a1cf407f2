"""Waits for what other processes do."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

# A shell that starts the tests in the background makes them ignore SIGINT, and their children would inherit that.
HEEDS_SIGINT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def interruptible(*args: str) -> list[str]:
    """Return a command for `python args` that SIGINT ends, even if the process that runs the tests ignores SIGINT."""
    return [sys.executable, "-c", HEEDS_SIGINT, *args]


def until(condition, limit_s: float = 60.0) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_gone(pid: int) -> bool:
    """Return whether the process has ended, also if its new parent has not waited for it yet."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        stat = Path(f"/proc/{pid}/stat")
        if stat.parent.parent.is_dir() and stat.exists():
            return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def children_of(pid: int) -> list[int]:
    linux = Path(f"/proc/{pid}/task/{pid}/children")
    if linux.exists():
        return [int(child) for child in linux.read_text().split()]
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, check=False)
    return [int(child) for child in found.stdout.split()]
