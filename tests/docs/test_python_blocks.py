"""The Python of every page is run, in a folder of its own, as a reader would run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.markdown import ROOT, Block, blocks

LIMIT_S = 120
PAGES = sorted({block.page for block in blocks("python")})


@pytest.mark.timeout(300)  # each file of the page is run in a process
@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(page: str, tmp_path: Path):
    """A block with a file name is saved and imported, or run by pytest. The others are run as one script, in order."""
    script = []
    for block in blocks("python", page):
        if block.title is None:
            script.append(f"# {block}\n{block.text}")
        else:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
            check(block, tmp_path)
    if script:
        (tmp_path / "page.py").write_text("\n\n".join(script), encoding="utf-8")
        run(["page.py"], tmp_path)


def check(block: Block, folder: Path) -> None:
    """Run a saved test; import any other module."""
    assert block.title is not None
    if block.title.startswith("test_"):
        run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", block.title], folder)
    else:
        run(["-c", f"import {Path(block.title).stem}"], folder)


def run(args: list[str], folder: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TURNWIRE_", "PYTEST_", "COV_"))}
    env |= {"PYTHONPATH": str(ROOT), "TURNWIRE_LLM_BASE_URL": "http://127.0.0.1:9/v1", "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-W", "error", *args]
    ended = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr
