"""A service with the product of these tests, and one browser. All are skipped where there is no Chromium."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from stack.cluster import ROOT, Stack
from tests.page.devtools import Browser, Page, Room
from tests.support.scene import SETTINGS

NPM = ROOT / ".turnwire" / "npm-axe"
AXE = "axe-core@4"
INSTALL_LIMIT_S = 45
HOOKS = SETTINGS | {"TURNWIRE_HOOKS": "tests.page.product:hooks", "TURNWIRE_DEVELOPMENT": "1"}


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    with Browser(chromium, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="session")
def page_stack(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    env = {name: value for name, value in HOOKS.items() if name != "TURNWIRE_DEVELOPMENT"}
    with Stack(tmp_path_factory.mktemp("page"), workers=2, env=env) as stack:
        yield stack
        assert "Traceback" not in stack.api[0].log()


@pytest.fixture(scope="session")
def room(page_stack: Stack, browser: Browser) -> Room:
    return Room(browser, page_stack.base_urls[0])


@pytest.fixture
def page(room: Room) -> Iterator[Page]:
    """A tab that shows the page. No script of it may fail, and nothing may break its policy."""
    with room.page() as page:
        page.until("document.querySelector('#welcome').checkVisibility()")
        yield page
        assert page.complaints == []


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the code of axe-core, which is kept in the checkout's own cache."""
    script = NPM / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("needs npm, for axe-core")
        NPM.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--prefix", str(NPM), "--no-audit", "--no-fund", "--ignore-scripts", AXE]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_LIMIT_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            pytest.skip(f"npm could not install {AXE}; perhaps it reaches no registry")
    return script.read_text(encoding="utf-8")
