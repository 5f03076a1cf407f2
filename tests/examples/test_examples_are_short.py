"""An example is one file that can be read in a minute and says how to run it."""

import ast
from pathlib import Path

import pytest

EXAMPLES = sorted(path for path in (Path(__file__).parents[2] / "examples").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_short_and_says_how_to_run_it(path: Path):
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= 60
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    targets = [ast.unparse(target) for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    if "hooks" in targets:
        assert f"TURNWIRE_HOOKS=examples.{path.stem}:hooks python3 dev.py\n" in source
