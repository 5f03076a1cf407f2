"""The lock files of the systems that are compared with Turnwire. Each gets a venv of its own, see stack.venvs."""

import subprocess
from pathlib import Path

from stack.cluster import ROOT

PEERS_LOCK, PEERS_VENV = ROOT / "benchmarks" / "peers.lock", "venv-bench"
LANGGRAPH_LOCK = ROOT / "benchmarks" / "langgraph.lock"


def version(python: Path, package: str) -> str:
    """Returns the version of a package that is installed for this interpreter."""
    program = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
