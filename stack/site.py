"""Builds the documentation site with Zensical, from docs/ and from docstrings. zensical.toml says what is in it.

Zensical lives in a venv of its own, `.turnwire/venv-docs`, made from docs/requirements.lock at the first use.
"""

import os
import subprocess
from pathlib import Path

from stack.cluster import ROOT
from stack.venvs import interpreter

LOCK = ROOT / "docs" / "requirements.lock"


def build() -> int:
    """Build it into .turnwire/site. Return the exit status. A broken link or an unknown Python name is an error."""
    return subprocess.run([_zensical(), "build", "--clean", "--strict"], check=False, cwd=ROOT).returncode


def serve() -> int:
    """Serve the site at the address that is printed, and rebuild it whenever a page changes, until Ctrl-C."""
    os.chdir(ROOT)
    os.execv(_zensical(), ["zensical", "serve"])  # noqa: S606


def _zensical() -> Path:
    return interpreter(LOCK, "venv-docs").parent / "zensical"
