"""Examples, README and docs import only the public modules, as a product should."""

import ast
import re

import pytest

from tests.support.markdown import ROOT, blocks

PUBLIC = {
    "turnwire",
    "turnwire.agents.openai_agents",
    "turnwire.agents.pydantic_ai",
    "turnwire.backends",
    "turnwire.testing",
}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGE_TEXTS = [(str(block), block.text) for block in blocks("python")]
TEXTS = PAGE_TEXTS + [(path.name, path.read_text(encoding="utf-8")) for path in EXAMPLES]


@pytest.mark.parametrize(("name", "text"), TEXTS, ids=[name for name, _ in TEXTS])
def test_only_public_modules_are_imported(name: str, text: str):
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    ours = {module for module in imported if re.match(r"(turnwire|api|worker|shared|stack|tests)\b", module)}
    assert ours <= PUBLIC
