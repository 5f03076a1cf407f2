"""Runs a process of the API or of a worker to its end."""

import sys
from collections.abc import Mapping
from pathlib import Path

from stack.cluster import ROOT
from stack.process import Service

LIMIT_S = 30.0


def ended(module: str, env: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Run `python -m module` with this environment. Returns its exit status, and what it wrote to both outputs."""
    service = Service(module, [sys.executable, "-m", module], env, folder / f"{module}.log", cwd=ROOT).start()
    try:
        return service.wait(LIMIT_S), service.log()
    finally:
        service.kill()
