"""docs/cli.md has every command of `turnwire` with its options, and the exit codes."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from tests.support.markdown import BLOCKS, ROOT
from turnwire.cli.app import app
from turnwire.cli.exits import Exit

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
SHARED = {"--url", "--key-file", "--json", "--help"}  # the page describes them once


def commands(command: Any = None, name: str = "turnwire") -> Iterator[tuple[str, Any]]:
    """Yield each command of the app with its whole name."""
    command = command or typer.main.get_command(app)
    for word, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{name} {word}")
    if not hasattr(command, "commands"):
        yield name, command


COMMANDS = dict(commands())


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts if name.startswith("--")}


def test_the_page_has_every_command_once():
    assert sorted(re.findall(r"^### (turnwire .+)$", PAGE, re.MULTILINE)) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_has_every_option(name: str):
    section = PAGE.partition(f"### {name}\n")[2].partition("\n##")[0]
    assert [option for option in options(COMMANDS[name]) - SHARED if option not in section] == []


def test_the_page_has_every_exit_code():
    assert re.findall(r"^\| (\d+) +\|", PAGE, re.MULTILINE) == [str(int(code)) for code in Exit]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_teaches(name: str):
    command = COMMANDS[name]
    assert command.help
    assert all(parameter.help for parameter in command.params if parameter.name != "help"), name
    assert (command.epilog or "").startswith("Example"), name


def examples() -> list[list[str]]:
    """Every line of a page's shell block, and of a command's examples, that calls `turnwire`."""
    texts = [block.text.replace("\\\n", " ") for block in BLOCKS if block.language == "sh"]
    texts += [command.epilog or "" for command in COMMANDS.values()]
    found = (
        re.search(r"(?:^ *|[$]\(|[|] |=\S+ )(turnwire [^)|]*)", line) for text in texts for line in text.splitlines()
    )
    return [shlex.split(match[1].partition("  ")[0], comments=True) for match in found if match]


@pytest.mark.parametrize("words", examples(), ids=" ".join)
def test_an_example_names_a_command_and_options_that_exist(words: list[str]):
    if words[1].startswith("-"):
        assert words[1] in {"--help", "--version", "--install-completion"}
        return
    name = next((name for name in COMMANDS if words[: name.count(" ") + 1] == name.split()), None)
    assert name is not None, words
    passed_on = COMMANDS[name].context_settings.get("ignore_unknown_options")
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert passed_on or given <= options(COMMANDS[name]) | {"--help"}, words
    needed = {parameter.opts[0] for parameter in COMMANDS[name].params if parameter.required}
    assert {option for option in needed if option.startswith("--")} <= given, words
