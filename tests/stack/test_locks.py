"""The lock files pin everything by hash, name no index, and agree with each other and with pyproject.toml."""

import functools
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import dev

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXPORTS = {
    "requirements.lock": "dev",
    "tests/worker/backends/realserver.lock": "realserver",
    "docs/requirements.lock": "docs",
    "tests/fuzz/schemathesis.lock": "fuzz",
    "deploy/build.lock": "build",
}
CONTAINER = "deploy/requirements.lock"
CONTAINER_EXTRAS = ("jwt", "otel")
LOCKS = [*EXPORTS, CONTAINER, "benchmarks/peers.lock", "benchmarks/langgraph.lock"]
RENEW = "CONTRIBUTING.md says how to renew the locks"


@functools.cache  # not while the tests are collected, which every process does
def packages() -> dict[str, Any]:
    """Return the packages of uv.lock by name."""
    return {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}


def pinned(name: str) -> dict[str, tuple[str, set[str]]]:
    """Return the version and the hashes of each package in a lock file of pip."""
    blocks = re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n    .*)*)", (ROOT / name).read_text(), flags=re.MULTILINE)
    return {package: (version, set(re.findall(r"sha256:\w+", rest))) for package, version, rest in blocks}


def needed(requirements: Iterable[dict]) -> set[str]:
    """Return these packages and all packages of uv.lock that they need, directly or not."""
    found: set[str] = set()
    waiting = list(requirements)
    while waiting:
        wanted = waiting.pop()
        package = packages()[wanted["name"]]
        parts = list(package.get("dependencies", []))
        for extra in wanted.get("extra", []):
            parts += package.get("optional-dependencies", {}).get(extra, [])
        if wanted["name"] not in found or wanted.get("extra"):
            found.add(wanted["name"])
            waiting += parts
    return found


def locked(wanted: Iterable[dict]) -> dict[str, tuple[str, set[str]]]:
    """Return the version and the hashes of these packages, and of those that they need, by uv.lock."""
    found = {}
    for package in needed(wanted):
        files = [*packages()[package].get("wheels", []), packages()[package].get("sdist", {})]
        found[package] = (packages()[package]["version"], {file["hash"] for file in files if "hash" in file})
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_everything_by_hash_and_names_no_place(name):
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert f"-o {name}\n" in text, "the first lines must name the command that made the file"
    packages = pinned(name)
    assert packages
    assert [package for package, (_, hashes) in packages.items() if not hashes] == []


@pytest.mark.parametrize("name", EXPORTS)
def test_an_exported_lock_is_what_uv_lock_says(name):
    ours = packages()["turnwire"]
    wanted = list(ours["dev-dependencies"][EXPORTS[name]])
    if name == "requirements.lock":
        wanted += ours["dependencies"]
    assert pinned(name) == locked(wanted), f"{name} is out of date: {RENEW}"


def test_the_lock_of_the_container_is_what_uv_lock_says():
    ours = packages()["turnwire"]
    extras = [part for extra in CONTAINER_EXTRAS for part in ours["optional-dependencies"][extra]]
    assert pinned(CONTAINER) == locked([*ours["dependencies"], *extras]), f"{CONTAINER} is out of date: {RENEW}"


def test_uv_lock_was_made_from_this_pyproject():
    ours = packages()["turnwire"]
    extras = [one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra]
    wanted = {"dependencies": PROJECT["project"]["dependencies"] + extras, **PROJECT["dependency-groups"]}
    recorded = {"dependencies": ours["metadata"]["requires-dist"], **ours["metadata"]["requires-dev"]}
    assert wanted.keys() == recorded.keys(), RENEW
    for group, requirements in wanted.items():
        said = {(name, frozenset(bounds)) for name, bounds in map(dev.parse, requirements)}
        locked = {
            (one["name"], frozenset(bound for bound in one.get("specifier", "").split(",") if bound))
            for one in recorded[group]
        }
        assert said == locked, f"{group} of pyproject.toml is not what uv.lock was made from: {RENEW}"


def test_the_lock_satisfies_pyproject():
    packages = pinned("requirements.lock")
    for requirement in PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]:
        name, bounds = dev.parse(requirement)
        assert name in packages, f"{name} is not in requirements.lock: {RENEW}"
        assert dev.satisfies(packages[name][0], bounds), requirement


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_the_actions_of_workflows_are_pinned_by_commit(workflow: Path):
    used = re.findall(r"uses: *(.*)", workflow.read_text(encoding="utf-8"))
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}  # v[\d.]+", one)] == []
