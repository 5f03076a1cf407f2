"""Steps the wall clock of one Redis server. This needs Linux and, to prepare it, a C compiler."""

import shutil
import struct
import subprocess
from pathlib import Path

from stack.process import Service

SOURCE = Path(__file__).with_name("clock.c")


class ClockError(Exception):
    """The clock of a server cannot be stepped on this machine."""


class SteppedClock:
    """The clock of one server. Make it before the server starts. `ahead_s`: by how much the server's clock is ahead."""

    def __init__(self, directory: Path, service: Service) -> None:
        """Compile the library with which the server is started.

        Raises:
            ClockError: there is no C compiler, or it fails.
        """
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise ClockError("the strike step_clock needs a C compiler (cc or gcc)")
        directory.mkdir(parents=True, exist_ok=True)
        library = directory / "clock.so"
        argv = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClockError(f"the strike step_clock cannot be compiled: {done.stderr}")
        self.ahead_s = 0
        self._file = directory / "clock-offset"
        self._file.write_bytes(struct.pack("q", 0))
        service.env |= {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(self._file)}

    def step(self, seconds: int) -> None:
        """Let the clock jump ahead or back."""
        self.ahead_s += seconds
        with self._file.open("r+b") as file:  # the server has mapped this file, so it must not be replaced
            file.write(struct.pack("q", self.ahead_s * 1000))
