"""Runs a command that must not outlive its parent: `python tether.py PARENT_PID kernel|watch COMMAND ...`.

This is a wrapper and not a `preexec_fn`, because Python promises nothing for code between fork and exec once there are
threads. The command replaces the wrapper, so the parent knows the command's pid.

`kernel` asks Linux to send SIGKILL when the parent ends. Linux means the parent's *thread*, so this is right only for a
command that the main thread has started. `watch` leaves a small process that watches the parent; it works everywhere.
"""

import os
import signal
import sys
import time

WATCH_INTERVAL_S = 0.1
PR_SET_PDEATHSIG = 1


def tie_by_kernel() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def tie_by_watching(parent: int) -> None:
    """Fork twice, so that the watcher is not a child of the command, whose `wait` would return it."""
    command = os.getpid()
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    if os.fork():
        os._exit(0)
    os.closerange(0, 3)  # do not keep the pipes of others open
    while exists(command):
        if not exists(parent):
            os.kill(command, signal.SIGKILL)
            break  # the process is dead, though nobody may have waited for it yet
        time.sleep(WATCH_INTERVAL_S)
    os._exit(0)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main(parent: int, how: str, command: list[str]) -> None:
    if how == "kernel":
        tie_by_kernel()
    else:
        tie_by_watching(parent)
    if os.getppid() != parent:  # the parent died before the kernel had accepted the request
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - a shell is exactly what must not stand in between


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
