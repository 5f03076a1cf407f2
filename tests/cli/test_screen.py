"""What is written to a terminal, and what to a pipe."""

import json

import pytest

from turnwire.cli import screen
from turnwire.cli.live import Live


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> pytest.CaptureFixture:
    """Let stdout and stderr count as a terminal."""
    monkeypatch.setattr(screen, "is_terminal", lambda _: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return capsys


ROWS = [("a", 1), ("ünï字", None)]


def test_a_table_has_columns_on_a_terminal(terminal):
    screen.table(("name", "count"), ROWS, ["31", ""])
    assert terminal.readouterr().out == "\x1b[1mNAME   COUNT\x1b[0m\n\x1b[31ma      1\x1b[0m\nünï字  -\n"


def test_no_color_is_obeyed(terminal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    screen.table(("name", "count"), ROWS, ["31", ""])
    assert terminal.readouterr().out == "NAME   COUNT\na      1\nünï字  -\n"


def test_a_table_in_a_pipe_is_separated_by_tabs(capsys: pytest.CaptureFixture):
    screen.table(("name", "count"), [("a\tb\nc\x1b[1m", 1)], ["31"])
    assert capsys.readouterr().out == "name\tcount\na b c[1m\t1\n"


def test_values_cannot_bring_colours_of_their_own(terminal):
    screen.fields([("status", "\x1b[32mok"), ("none", None), ("text", "one\ntwo")], {"status": "31"})
    assert terminal.readouterr().out.splitlines() == [
        "\x1b[1mstatus\x1b[0m  \x1b[31m[32mok\x1b[0m",
        "\x1b[1mtext  \x1b[0m  one",
        "        two",
    ]


def test_json_is_the_same_document_and_controls_no_terminal():
    document = {"text": "\x1b[1m\x9b1m\x7f\u202e\ud800 字 \n"}
    text = screen.as_json(document)
    assert json.loads(text) == document
    assert text == '{"text":"\\u001b[1m\\u009b1m\\u007f\\u202e\\ud800 字 \\n"}'


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "-"), (-5, "0ms"), (999, "999ms"), (1000, "1.0s"), (59_900, "59.9s"), (60_000, "1m 0s"),
        (3_599_000, "59m 59s"), (3_600_000, "1h 0m"), (86_399_000, "23h 59m"), (90_000_000, "1d 1h"),
        (8_640_000_000, "100d 0h"),
    ],
)  # fmt: skip
def test_durations(ms, text):
    assert screen.duration(ms) == text


def test_costs():
    assert screen.cost(1_234_000, "USD") == "0.001234 USD"
    assert screen.cost(0, None) == "0"
    assert screen.cost(2_000_000_000, "EUR") == "2 EUR"
    assert screen.cost(None, "EUR") == "unknown"


def show(live: Live) -> None:
    live.show({"id": "1-1", "type": "reasoning.delta", "data": {"delta": "hm"}})
    live.show({"id": "1-2", "type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": "yes\x1b[1m"}})
    live.show({"id": "1-3", "type": "tool.call", "data": {"name": "f", "arguments": {}}})
    live.show({"id": "1-4", "type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": ", no\n"}})
    live.end(None)


def test_on_a_terminal_text_is_live_and_everything_else_has_its_own_lines(terminal):
    show(Live("demo", 0))
    out, err = terminal.readouterr()
    assert out == "\x1b[2mhm\x1b[0m\nyes[1m\n, no\n"
    assert err == "\x1b[2m→ f({})\x1b[0m\n"


def test_a_pipe_gets_the_final_answer_and_nothing_else(capsys: pytest.CaptureFixture):
    show(Live("demo", 0))
    out, err = capsys.readouterr()
    assert out == "yes[1m, no\n"
    assert err == "→ f({})\n"
