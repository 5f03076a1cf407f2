"""The walk of docs/how-to/access.md, pasted block by block into a shell."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stack.cluster import ROOT, Stack
from tests.support.markdown import blocks

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

LIMIT_S = 120
PAGE = "docs/how-to/access.md"
PAGE_URL = "http://127.0.0.1:8000"
VARIABLES = "ACME READER GLOBEX TOKEN"


class Terminal:
    """A shell in a folder of its own, which keeps its variables from one block to the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = folder / "variables"
        self._kept.touch()
        self.base_url = PAGE_URL

    def paste(self, text: str) -> str:
        """What the block prints."""
        commands = text.replace(PAGE_URL, self.base_url).replace("curl ", "curl -sS -w '\\n%{http_code}\\n' ")
        commands = commands.replace("python3 dev.py", f"{sys.executable} {ROOT / 'dev.py'}")
        if "$(curl" in commands:
            commands = commands.replace(" -w '\\n%{http_code}\\n'", "")
        script = f"source {self._kept}\n{commands}\ndeclare -p {VARIABLES} > {self._kept} 2>/dev/null\n"
        run = subprocess.run(
            ["bash", "-c", script], cwd=self._folder, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        return run.stdout


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


@pytest.fixture
def walk() -> list[str]:
    """The blocks of the walk, which is the first part of the page."""
    texts = [block.text for block in blocks("sh", PAGE)]
    return texts[: next(number for number, text in enumerate(texts) if "pip install" in text)]


def start(folder: Path, block: str) -> Stack:
    """Start what the second terminal starts, without its Redis data and on a free port."""
    assert "export TURNWIRE_API_KEYS_FILE=$PWD/keys.toml" in block
    assert "export TURNWIRE_TOKEN_SECRET=$(openssl rand -hex 32)" in block
    env = {"TURNWIRE_API_KEYS_FILE": str(folder / "keys.toml"), "TURNWIRE_TOKEN_SECRET": "0" * 64}
    return Stack(folder / "log", env=env)


def test_two_tenants_three_keys_one_browser_token(tmp_path: Path, terminal: Terminal, walk: list[str]):
    keys, service, ask, globex, reader, refused, token, browser, take_back = walk
    terminal.paste(keys)
    with start(tmp_path, service) as stack:
        terminal.base_url = stack.base_urls[0]
        asked = terminal.paste(ask)
        assert '"session.run.completed"' in asked
        assert '"tenantId":"acme"' in asked
        assert statuses(terminal.paste(globex)) == ["404"]
        assert statuses(terminal.paste(reader)) == ["200"]
        assert statuses(terminal.paste(refused)) == ["403", "401"]
        assert terminal.paste(token) == ""
        shown = terminal.paste(browser)
        assert '"session.run.completed"' in shown
        assert statuses(shown) == ["200", "404"]
        assert statuses(terminal.paste(take_back)) == ["200"]


def statuses(shown: str) -> list[str]:
    """The lines that curl adds to what it shows."""
    return [line for line in shown.splitlines() if line.isdecimal()]
