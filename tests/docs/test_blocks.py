"""Every code block of the pages at the root and under docs/ is valid in its language."""

import json
import re
import shlex
import subprocess
import tomllib

import pytest

from stack.commands import COMMANDS
from tests.support.markdown import BLOCKS, ENTRANCES, PAGES, ROOT, blocks, blocks_of, page_name
from turnwire.api.following.change import TURN_EVENT_PREFIX, ChangeCursor
from turnwire.shared import events
from turnwire.shared.events import Cursor
from turnwire.shared.settings import CLIENT_VARIABLES, Settings
from turnwire.worker.pool import callback_outbox

LANGUAGES = {"js", "python", "sh", "json", "toml", "text", "mermaid"}
MOST_OPT_OUTS = 2

# The types that an NDJSON line may have: Turnwire's own, and those that the backends and the examples yield.
OWN_TYPES = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
PRODUCT_TYPES = {
    "tool.call",
    "tool.result",
    "tool.call.delta",
    "reasoning.delta",
    "model.fallback",
    "history.trimmed",
    "model.response",
}


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_fence_opens_a_block_that_the_tests_know(path):
    fences = re.findall(r"^ *```", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(blocks_of(path))
    assert {block.language for block in blocks_of(path)} <= LANGUAGES


def test_few_blocks_opt_out_of_being_run():
    opted_out = [f"{block}: {block.why_not}" for block in BLOCKS if block.why_not]
    assert len(opted_out) <= MOST_OPT_OUTS, opted_out


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml_can_be_read(block):
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_is_one_document_or_lines_of_events(block):
    try:
        documents = [json.loads(block.text)]
    except json.JSONDecodeError:
        documents = [json.loads(line) for line in block.text.splitlines()]
    for document in documents:
        if isinstance(document, dict) and "timestamp" in document:
            assert document["type"] in callback_outbox.TYPES.values()
        elif isinstance(document, dict) and "type" in document and "data" in document:
            is_of_session = document["type"].startswith(TURN_EVENT_PREFIX)
            assert is_of_session or document["type"] in OWN_TYPES | PRODUCT_TYPES
            assert set(document) <= {"id", "type", "data"}
            if "id" in document:
                cursor = ChangeCursor if is_of_session else Cursor
                assert str(cursor.parse(document["id"])) == document["id"]


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_a_shell_block_can_be_parsed_and_names_commands_that_exist(block):
    parsed = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False, timeout=10)
    assert parsed.stderr == ""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if "dev.py" in " ".join(words):
            place = next(i for i, word in enumerate(words) if word.endswith("dev.py"))
            command = next(iter(words[place + 1 :]), "run")
            assert command in COMMANDS or command.startswith("-"), line


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_setting_that_a_page_names_exists(path):
    named = set(re.findall(r"\bTURNWIRE_([A-Z0-9_]*[A-Z0-9])\b", path.read_text(encoding="utf-8")))
    others = {"LLM"} | {name.removeprefix("TURNWIRE_") for name in CLIENT_VARIABLES}
    assert {name for name in named if name.lower() not in Settings.__struct_fields__} - others == set()


@pytest.mark.parametrize("path", ENTRANCES, ids=page_name)
def test_links_of_the_pages_at_the_root_lead_somewhere(path):
    """The links of docs/ are checked when the site is built."""
    links = re.findall(r"\]\((?!https?://)([^)#]+)(?:#([^)]*))?\)", path.read_text(encoding="utf-8"))
    assert [link for link, _ in links if not (ROOT / link).exists()] == []
    assert [f"{link}#{anchor}" for link, anchor in links if anchor and anchor not in anchors_of(ROOT / link)] == []


def anchors_of(path):
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
