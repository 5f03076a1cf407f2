"""The lists of public names in `turnwire/__init__.py` agree, and each name can be imported at run time."""

import ast
from pathlib import Path

import turnwire


def imported_for_type_checkers() -> dict[str, str]:
    """Return the module of each name that is imported under `if TYPE_CHECKING:`."""
    tree = ast.parse(Path(turnwire.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


def test_the_three_lists_of_public_names_agree():
    assert imported_for_type_checkers() == turnwire._HOMES
    assert {*turnwire._HOMES, "__version__"} == set(turnwire.__all__)


def test_every_public_name_is_found_where_its_list_says():
    assert [name for name in turnwire._HOMES if getattr(turnwire, name).__name__ != name] == []
