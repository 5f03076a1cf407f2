"""The source of the latest release, and a service of which any process can be one of that release."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Final

import pytest

from stack.cluster import ROOT
from stack.process import Service
from tests.support.scene import Scene
from tests.support.waiting import wait_until

RELEASE: Final = "0.2.0"
START_LIMIT_S: Final = 60.0  # the release is not forked: its interpreter starts, also on a busy machine
COMMIT: Final = "7473f8bcba2be3f1432e0068965fc02538279f2d"


def unpack(folder: Path) -> Path:
    """Put the source of the release into the folder, and return it. The test is skipped if its commit is not there.

    Its product is the present one of chaos/, so that the processes of both versions note their calls in the same way.
    """
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"this checkout has no commit of Turnwire {RELEASE}; `git fetch --unshallow` gets it")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as source:
        source.extractall(folder, filter="data")
    shutil.rmtree(folder / "chaos")
    shutil.copytree(ROOT / "chaos", folder / "chaos", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


class Versions:
    """The workers and APIs of a scene, of which the first of each are of the release and the second are new."""

    def __init__(self, view: Scene) -> None:
        self.view = view
        self.old_worker, self.new_worker = view.stack.worker
        self.old_url, self.new_url = view.stack.base_urls

    def worker(self, version: str) -> Service:
        return self.old_worker if version == "old" else self.new_worker

    def ask_only(self, version: str) -> None:
        """Let the client ask the API of this version alone."""
        self.view.client.base_urls[:] = [self.old_url if version == "old" else self.new_url] * 2

    async def work_only(self, *versions: str) -> None:
        """Let the workers of these versions run, and no other."""
        for version in ("old", "new"):
            worker = self.worker(version)
            if version in versions and not worker.running:
                worker.start()
                await wait_until(lambda: "worker ready" in worker.log(since_start=True), worker.name, START_LIMIT_S)  # noqa: B023
            elif version not in versions and worker.running:
                worker.kill()
