"""A service and a front door. A test is skipped if the program that it needs is not on this machine."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stack.cluster import ROOT, Stack
from stack.proxies import ProgramMissing, certificate_in
from tests.clients.proxies import PROXIES, SITE, Proxied, running
from tests.support.scene import SETTINGS, Scene
from tests.support.waiting import wait_until

NPM = ROOT / ".turnwire" / "npm"
EVENTSOURCE = "eventsource@4"
INSTALL_LIMIT_S = 45
START_S = 20.0


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


@pytest.fixture(scope="module")
def proxied_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("proxies")
    env = SETTINGS | {"CHAOS_LEDGER": str(directory / "ledger"), "TURNWIRE_ALLOWED_HOSTS": f"{SITE},127.0.0.1"}
    with Stack(directory, workers=1, env=env) as stack:
        yield stack
        assert "Traceback" not in stack.api[0].log()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the proxies' certificate."""
    try:
        return certificate_in(tmp_path_factory.mktemp("certificate"))
    except ProgramMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=PROXIES)
async def proxied(
    request: pytest.FixtureRequest, proxied_stack: Stack, certificate: Path, tmp_path: Path
) -> AsyncIterator[Proxied]:
    api = urlsplit(proxied_stack.base_urls[0]).netloc
    async with Scene(proxied_stack, tmp_path / "ledger") as scene:
        with running(request.param, tmp_path, [api], certificate) as port:
            found = Proxied(request.param, scene, port)
            try:
                await wait_until(found.is_ready, "the proxy is ready", START_S)
            except AssertionError:
                raise AssertionError((tmp_path / "log").read_text()) from None
            yield found
