"""Interpreters with what is compared but not ours: a venv for each lock, made at first use."""

import hashlib
import subprocess
import sys
from pathlib import Path

from stack import venvs
from stack.cluster import ROOT

PEERS_LOCK, PEERS_VENV = ROOT / "benchmarks" / "peers.lock", "venv-bench"
LANGGRAPH_LOCK = ROOT / "benchmarks" / "langgraph.lock"


def interpreter(lock: Path, name: str) -> Path:
    """The Python of `.turnwire/<name>`, which has exactly what the lock says.

    Raises:
        SetupError: it could not be made.
    """
    venv = ROOT / ".turnwire" / name
    python, marker = venv / "bin" / "python", venv / "turnwire-ready"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not (marker.exists() and marker.read_text() == wanted):
        print(f"installing {lock.name} into .turnwire/{name} (once) ...", file=sys.stderr)
        venvs.make(venv, lock)
        marker.write_text(wanted)
    return python


def version(python: Path, package: str) -> str:
    """What is installed there."""
    program = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
