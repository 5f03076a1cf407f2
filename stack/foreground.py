"""Serves a command in a terminal while its children work: it shows their logs, and ends them on Ctrl-C."""

import contextlib
import os
import select
import signal
import sys
from types import FrameType
from typing import Self

from stack.process import Service

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CHUNK_BYTES = 1 << 20


class StopAskedError(Exception):
    """Somebody pressed Ctrl-C, or sent SIGTERM, while something was still starting."""


class Interrupts:
    """Counts SIGINT, SIGTERM and SIGHUP instead of letting them end the process. A context manager."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._woken)
        os.close(self._wake)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the first signal, `timeout_s` at most. Returns whether there was one, now or before."""
        if not self.count:
            select.select([self._woken], [], [], timeout_s)
        return self.count > 0

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


class LogTail:
    """Copies the complete lines that a service writes to stderr, each with the service's name in front."""

    def __init__(self, service: Service, label: str) -> None:
        self._service = service
        self._label = label
        self._at = 0
        with contextlib.suppress(FileNotFoundError):
            self._at = service.log_path.stat().st_size

    def forward(self) -> None:
        """Show what is new since the last call, at most a megabyte."""
        with contextlib.suppress(FileNotFoundError), self._service.log_path.open("rb") as log:
            log.seek(self._at)
            text = log.read(CHUNK_BYTES)
            complete = text.rfind(b"\n") + 1
            self._at += complete
            for line in text[:complete].decode(errors="replace").splitlines():
                say(f"{self._label} | {line}")


def say(text: str) -> None:
    """Write a line to stderr. It never raises, because the children must be stopped even if the terminal is gone."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
