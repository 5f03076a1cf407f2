"""A service and a front door. A test is skipped if the program that it needs is not on this machine."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stack.cluster import ROOT, Stack
from tests.support.scene import SETTINGS, Scene

NPM = ROOT / ".turnwire" / "npm"
EVENTSOURCE = "eventsource@4"
INSTALL_LIMIT_S = 45


@pytest.fixture(scope="module")
def client_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("clients")
    with Stack(directory, workers=1, env=SETTINGS | {"CHAOS_LEDGER": str(directory / "ledger")}) as stack:
        yield stack
        assert "Traceback" not in stack.api[0].log()


@pytest.fixture
async def scene(client_stack: Stack, tmp_path: Path) -> AsyncIterator[Scene]:
    async with Scene(client_stack, tmp_path / "ledger") as view:
        yield view


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Return the folder where `eventsource` is installed, which is kept in the checkout's own cache."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs node and npm")
    modules = NPM / "node_modules"
    if not (modules / "eventsource").exists():
        NPM.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--prefix", str(NPM), "--no-audit", "--no-fund", "--ignore-scripts", EVENTSOURCE]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_LIMIT_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            pytest.skip(f"npm could not install {EVENTSOURCE}; perhaps it reaches no registry")
    return modules


@pytest.fixture(scope="session")
def chromium() -> str:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    return path
