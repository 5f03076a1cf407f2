"""Rules for the source as a whole: directions of imports, names, scripts, who spells keys, who sleeps."""

import ast
import functools
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.contracts import SECTIONS, contract_of
from turnwire.shared.store.scripts import REFUSALS, source

ROOT = Path(__file__).parent.parent
PACKAGES = ("api", "cli", "worker", "shared")
ROOMS = (*PACKAGES, "turnwire/agents", "turnwire/testing")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
LUA = sorted((ROOT / "shared" / "store" / "lua").glob("*.lua"))
PARTS = sorted((ROOT / "shared" / "store" / "lua" / "parts").glob("*.lua"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

KEY_TEXT = re.compile(
    r"""(?:\A|["'f])(?:turn|lease|steps|events|signals|ledger|session|numbering|turns|open):chat|arq:(?:job|in-progress|queue|abort|result)|(?<!urn:)turnwire:"""
)
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
# Who waits by sleeping: one module for everybody, and those of suites that need nothing else of ours.
WAITING = {
    "tests/support/waiting.py",
    "tests/worker/pool/test_pulse.py",  # blocks the event loop on purpose
    "tests/stack/watching.py",  # waits for other processes, synchronously
    "tests/worker/backends/asking.py",
    "tests/worker/backends/test_openai_requests.py",  # a deadline: the passing of time is what is tested
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    """Parse a file. Several tests share the nodes, so nobody may change them."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def calls_in(path: Path) -> dict[ast.Call, str]:
    """Return the calls in the file, each with what is called as dotted text, such as `asyncio.sleep`."""
    return {node: dotted(node.func) for node in nodes_of(path) if isinstance(node, ast.Call)}


def dotted(node: ast.expr) -> str:
    """Return what `ast.unparse` does, quickly for a plain name such as `asyncio.sleep`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ast.unparse(node)


def imported_names(path: Path) -> list[str]:
    imports = [node for node in nodes_of(path) if isinstance(node, ast.ImportFrom)]
    return [f"{node.module}.{alias.name}" for node in imports for alias in node.names]


def imported_modules(path: Path) -> list[str]:
    """Every module that the file imports, and every name that may be one."""
    imports = [node for node in nodes_of(path) if isinstance(node, ast.Import)]
    return imported_names(path) + [alias.name for node in imports for alias in node.names]


def texts_in(path: Path) -> list[str]:
    """Return every text that the code of the file writes, and each piece of its f-strings. Docstrings are none."""
    alone = {node.value for node in nodes_of(path) if isinstance(node, ast.Expr)}
    constants = [node for node in nodes_of(path) if isinstance(node, ast.Constant) and node not in alone]
    return [constant.value for constant in constants if isinstance(constant.value, str)]


def unpacked(code: str, section: str) -> list[str]:
    """The names that a script gives to its KEYS or ARGV, in order."""
    by_number = re.findall(rf"(\w+) = {section}\[(\d+)\]", code)
    assert [int(number) for _, number in by_number] == list(range(1, len(by_number) + 1))
    in_a_row = re.findall(rf"^local ([\w,\s]+?) = unpack\({section}(?:, 1, \d+)?\)$", code, re.MULTILINE)
    return [name for name, _ in by_number] + [name for row in in_a_row for name in re.split(r",\s+", row)]


def with_job_keys(code: str) -> str:
    """The code of a script that begins with the keys of parts/job.lua, with these keys by their numbers."""
    if "job_keys(1)" not in code:
        return code
    part = (LUA[0].parent / "parts" / "job.lua").read_text(encoding="utf-8")
    names = re.findall(r"(\w+) = KEYS\[first(?: \+ \d+)?\]", part)
    return "\n".join(f"{name} = KEYS[{number}]" for number, name in enumerate(names, 1)) + "\n" + code


def test_every_script_has_a_file_and_every_file_a_script():
    used = [name for path in SOURCES for name in re.findall(r'\bScript\("(\w+)"[,)]', path.read_text(encoding="utf-8"))]
    assert sorted(used) == [path.stem for path in LUA]


@pytest.mark.parametrize("path", LUA, ids=lambda path: path.stem)
def test_a_script_opens_with_its_contract(path):
    contract = contract_of(path.read_text(encoding="utf-8"))
    assert contract.wrong == []
    assert re.match(r"[A-Z].*\. (?:Safe|NOT safe) to repeat: .*\.$", contract.about), contract.about
    assert [name for name in SECTIONS if name in contract.sections] == list(contract.sections)
    assert {"KEYS", "RETURNS"} <= contract.sections.keys()


@pytest.mark.parametrize("path", LUA, ids=lambda path: path.stem)
def test_a_script_unpacks_what_its_contract_names(path):
    text = path.read_text(encoding="utf-8")
    contract, code = contract_of(text), re.sub(r"--.*", "", text)
    assert unpacked(with_job_keys(code), "KEYS") == contract.fixed("KEYS")
    assert unpacked(code, "ARGV") == contract.fixed("ARGV")
    if begins_at := re.search(r"job_keys\((\d+)\)", code):
        has_rest = contract.has_rest("KEYS")
        assert int(begins_at[1]) == (len(contract.fixed("KEYS")) + 1 if has_rest else 1)
    for section in ("KEYS", "ARGV"):
        count, has_rest = len(contract.fixed(section)), contract.has_rest(section)
        rest = re.findall(rf"unpack\({section}, (\d+)(?:[,)]| \+)|for \w+ = (\d+), #{section}\b", code)
        begins = {int(first or second) for first, second in rest} - {1}
        assert begins <= ({count + 1} if has_rest else set()), f"where the rest of {section} begins"
        limits = re.findall(rf"= unpack\({section}(?:, 1, (\d+))?\)", code)
        assert all(limit == (str(count) if has_rest else "") for limit in limits)


@pytest.mark.parametrize("path", LUA, ids=lambda path: path.stem)
def test_a_script_names_its_refusals(path):
    refusal = re.compile(r"error_reply\('([A-Z_]+) ")
    named = set(contract_of(path.read_text(encoding="utf-8")).sections.get("REFUSES", []))
    own = set(refusal.findall(path.read_text(encoding="utf-8")))
    assert own <= named <= set(refusal.findall(source(path.stem)))
    assert named <= REFUSALS.keys()


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.stem)
def test_a_part_says_what_it_is_for_and_what_each_function_does(path):
    text = path.read_text(encoding="utf-8")
    assert re.match(r"-- [A-Z].*\n(?:-- \S.*\n)*\n", text)
    functions = re.findall(r"^local function (\w+\(.*\))$", text, re.MULTILINE)
    assert functions
    described = re.findall(r"^-- (\w+\(.*\))\n(?:-- \S.*\n)+local function", text, re.MULTILINE)
    assert described == functions


@pytest.mark.parametrize("path", [*LUA, *PARTS], ids=lambda path: path.stem)
def test_lines_of_lua_stay_short(path):
    assert [line for line in path.read_text(encoding="utf-8").splitlines() if len(line) > 120] == []


def test_every_part_is_included_and_every_include_is_a_part():
    included = {
        part
        for path in LUA
        for line in re.findall(r"^ *-- include: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        for part in line.split()
    }
    assert included == {path.stem for path in PARTS}


def test_only_two_modules_spell_keys_and_channels():
    spelled = [
        f"{name_of(path)}: {match[0]}"
        for path in SOURCES
        if name_of(path) not in {"shared/keys.py", "shared/channels.py"}
        for text in texts_in(path)
        for match in KEY_TEXT.finditer(text)
    ]
    lua = [
        f"{name_of(path)}: {match[0]}"
        for path in [*LUA, *PARTS]
        for match in KEY_TEXT.finditer(re.sub(r"--.*", "", path.read_text(encoding="utf-8")))
    ]
    assert spelled + lua == []


def test_python_writes_to_no_key_by_itself():
    """Every write is a script, so that it is fenced and may be repeated."""
    writes = re.compile(
        r"(redis|pipe|client)\.(set(?!_response_)\w*|getset|del\w*|unlink|[lr]push\w*|[lr]trim|[hz]\w*(set|add|rem|del|incrby)\w*|s(add|rem)"
        r"|x(add|del|trim)|incr\w*|decr\w*|p?expire\w*|persist|rename\w*)$"
    )
    called = [(name_of(path), call) for path in SOURCES for call in calls_in(path).values()]
    assert [f"{name}: {call}" for name, call in called if writes.search(call)] == []


@pytest.mark.long  # `python3 dev.py lint` checks the same
def test_api_and_worker_stand_side_by_side_on_shared():
    linted = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_no_module_has_an_empty_name():
    assert [name_of(path) for path in SOURCES + TESTS if path.stem in EMPTY_NAMES] == []


def test_no_other_distribution_brings_packages_of_our_names():
    """PyPI's `shared` and `worker` would replace ours without a word."""
    owners = importlib.metadata.packages_distributions()
    assert {package: owners.get(package, []) for package in (*PACKAGES, "tests")} == {
        package: ["turnwire"] if package in owners else [] for package in (*PACKAGES, "tests")
    }


def test_no_test_imports_a_test():
    """Code that two test files need belongs into a module without tests, where its readers look for it."""
    modules = [name for path in TESTS for name in imported_modules(path)]
    assert [name for name in modules if any(part.startswith("test_") for part in name.split("."))] == []


def test_the_map_of_the_tests_names_every_folder():
    rooms = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("**/*.py"))}
    named = re.findall(r"^\| `(\w+)/` \|", (ROOT / "tests" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) == rooms


def test_only_the_waiting_modules_of_the_tests_sleep():
    """`sleep(0)` is none: it lets the other tasks run once."""
    sleepers = {
        name_of(path)
        for path in TESTS
        for call, name in calls_in(path).items()
        if name.endswith("sleep") and not ast.unparse(call).endswith("(0)")
    }
    assert sorted(sleepers - WAITING) == []


def test_nobody_waits_with_asyncio_wait_for():
    """On Python 3.11 it can swallow a cancellation: a drain or a lost lease would be overheard."""
    assert [name_of(path) for path in SOURCES if "asyncio.wait_for" in calls_in(path).values()] == []
    assert [name_of(path) for path in SOURCES if "asyncio.wait_for" in imported_names(path)] == []


def test_files_stay_small():
    sizes = {name_of(path): path.read_text(encoding="utf-8").count("\n") for path in SOURCES + TESTS}
    assert {name: size for name, size in sizes.items() if size > 300} == {}
