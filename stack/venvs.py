"""Makes a venv from a lock file with a pinned pip that is downloaded, else with what is here: ensurepip, else uv.

The pinned pip needs a third of the time of the one that an older Python brings with ensurepip.
This module needs the standard library only: it works before anything is installed.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stack import pip_wheel

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = ["-qq", "--no-input", "--disable-pip-version-check", "--prefer-binary", "--require-hashes"]
# The lock names every dependency. Without --no-deps, pip would look for the newest version of one that is wanted with
# an extra, such as `coverage[toml]`, and then refuse it, because the lock has no hash of it.
OPTIONS += ["--no-compile", "--no-deps"]

# These make up a third of all modules. They are compiled to C, are rewritten by pytest, or are imported rarely.
LEFT_OUT = (
    "/(coverage|hypothesis|mypyc?|agents/(extensions|realtime)|openai/(resources|types/(beta|realtime))"
    "|pydantic_ai/(durable_exec|realtime|ui)|pygments/lexers)/"
)


class SetupError(Exception):
    """The venv could not be made. The message says why."""


def interpreter(lock: Path, name: str) -> Path:
    """Returns the Python of `.turnwire/<name>`, which has exactly what the lock pins. It is made at the first use.

    Raises:
        SetupError: it could not be made.
    """
    venv = ROOT / ".turnwire" / name
    marker = venv / "turnwire-ready"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not (marker.exists() and marker.read_text() == wanted):
        print(f"installing {lock.name} into .turnwire/{name} (once) ...", file=sys.stderr)
        make(venv, lock)
        marker.write_text(wanted)
    return venv / "bin" / "python"


def make(venv: Path, lock: Path) -> None:
    """Makes the folder `venv` anew for the running Python, with exactly what the file `lock` pins.

    Raises:
        SetupError: a step failed. A program that failed has said more on stderr.
    """
    shutil.rmtree(venv, ignore_errors=True)  # it may be incomplete, or made from another lock file
    python = str(venv / "bin" / "python")
    try:
        wheel = pip_wheel.fetch(venv.parent)
    except pip_wheel.DownloadError as error:
        if has_ensurepip():
            run([sys.executable, "-m", "venv", str(venv)])
            run([python, "-m", "pip", "install", *OPTIONS, "-r", str(lock)])
        elif uv := find_uv():
            run([uv, "venv", "--quiet", "--no-project", "--python", sys.executable, str(venv)])
            run([uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", str(lock)])
        else:
            raise SetupError(
                f"pip cannot be downloaded, and there is neither ensurepip nor uv here: {error}"
            ) from error
    else:
        run([sys.executable, "-m", "venv", "--without-pip", str(venv)])
        run([python, str(wheel / "pip"), "install", *OPTIONS, "-r", str(lock)])


def compile_modules(venv: Path) -> None:
    """Compiles the modules of a venv, with every processor, so that each process starts quickly from now on.

    Python compiles a module that is left out here when it is imported first.
    """
    libraries = [str(path) for path in venv.glob("lib/python3*/site-packages")]
    options = ["-qq", "-j", "0", "-x", LEFT_OUT]
    subprocess.call([str(venv / "bin" / "python"), "-m", "compileall", *options, *libraries])


def has_ensurepip() -> bool:
    """Returns whether this Python has ensurepip. Debian and its derivatives ship one without it."""
    return succeeds([sys.executable, "-c", "import ensurepip; ensurepip.version()"])


def find_uv() -> str | None:
    """Returns the path of uv if it runs: a name on the PATH may be a shim with nothing behind it."""
    uv = shutil.which("uv")
    return uv if uv and succeeds([uv, "--version"]) else None


def succeeds(argv: Sequence[str]) -> bool:
    try:
        return subprocess.call(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def run(argv: Sequence[str]) -> None:
    """Runs a program. Raises SetupError when it fails."""
    try:
        status = subprocess.call(argv)
    except OSError as error:
        raise SetupError(str(error)) from error
    if status != 0:
        raise SetupError(f"`{' '.join(argv[:4])} …` failed (see above)")
