"""The tree of errors in the docstring of shared/errors.py is the tree of their classes."""

import re
from pathlib import Path

from turnwire.shared import errors

ROOT = Path(__file__).parent.parent.parent
SOURCES = [path for folder in ("api", "worker", "shared") for path in (ROOT / folder).rglob("*.py")]


def test_the_tree_names_every_error_and_where_it_lives():
    parents = {}  # of every class with one base: enough to find the errors among them
    for path in SOURCES:
        for name, parent in re.findall(r"^class (\w+)\((\w+)\):", path.read_text(encoding="utf-8"), re.MULTILINE):
            parents[name] = (parent, path.relative_to(ROOT).as_posix())
    known = {"TurnwireError"}
    while grown := {name for name, (parent, _) in parents.items() if parent in known} - known:
        known |= grown
    drawn = re.findall(r"^[│ ]*[├└]── (\w+) .*?(?:\((\S+\.py)\))?$", errors.__doc__, re.MULTILINE)
    found = {name: where for name, (_, where) in parents.items() if name in known}
    found.pop("TurnwireError")
    assert {name: where or "shared/errors.py" for name, where in drawn} == found
