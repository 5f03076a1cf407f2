"""Builds Turnwire from this checkout and installs it, without a network."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import pytest

from stack.cluster import ROOT, bare_environment

# pip must install the given files and look nowhere else. The dependencies are those of the running interpreter.
OFFLINE = ["--isolated", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q"]


class Built(NamedTuple):
    wheel: Path
    sdist: Path


def outside() -> dict[str, str]:
    """Return the environment variables of a user who has no checkout."""
    return {name: value for name, value in bare_environment().items() if name not in {"PYTHONPATH", "MYPYPATH"}}


def run(*argv: str | Path, cwd: Path = ROOT) -> str:
    """Run a command, which must succeed, and return what it prints."""
    done = subprocess.run(argv, cwd=cwd, env=outside(), capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(directory: Path, *target: str | Path) -> Path:
    """Make a virtual environment that has Turnwire and borrows the dependencies. Returns its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", directory)
    python = directory / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # Only the folder is borrowed. Its .pth files, which may lead to this checkout, are not read.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + os.linesep)
    run(sys.executable, "-m", "pip", "--python", python, "install", "--force-reinstall", *OFFLINE, *target)
    return python


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the wheel and the source distribution from this checkout."""
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", directory)
    [wheel], [sdist] = directory.glob("*.whl"), directory.glob("*.tar.gz")
    return Built(wheel, sdist)
