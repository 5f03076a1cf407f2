"""Runs a command that must not outlive its parent: `python tether.py PARENT_PID kernel|watch COMMAND ...`.

A wrapper and not a `preexec_fn`, because Python promises nothing for code between fork and exec once there
are threads. The command replaces the wrapper, so its pid is the one that the parent knows.

`kernel` asks Linux for SIGKILL at the parent's end; Linux means the parent's *thread*, so it is only right
for a command started from the main thread. `watch` leaves a small process that looks, and works everywhere.
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
    """Fork twice, so that the watcher is nobody's child and no `wait` of the command returns it."""
    command = os.getpid()
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    if os.fork():
        os._exit(0)
    os.closerange(0, 3)  # keep nobody's pipe open
    while exists(command):
        if not exists(parent):
            os.kill(command, signal.SIGKILL)
            break  # whoever inherits the corpse may take its time
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
    if os.getppid() != parent:  # it died before the tie held
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - a shell is exactly what must not stand in between


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
