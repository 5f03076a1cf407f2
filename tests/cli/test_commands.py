"""Every command but `send` and `tail`: what it prints, as text and as JSON, and its exit code."""

import asyncio
import json
import os
import subprocess
import sys
import time
import typing
from pathlib import Path

import msgspec
import pytest

from stack.cluster import ROOT
from stack.process import free_port
from tests.cli.asking import Turnwire, api_of, worker_of
from tests.support.key_file import key_block, write_key_file
from tests.support.product import Scripted, text
from tests.support.turns import SESSION, request, submit_next
from turnwire import ModelCall, Turn, __version__
from turnwire.cli import access, processes, summary, turns
from turnwire.cli.named_turn import NamedTurn, run_id
from turnwire.shared.key_file import KeyScope, parse_key_file


class Counted(Scripted):
    """Says a word and reports what it cost."""

    async def produce(self, turn: Turn):
        turn.usage.add(ModelCall("m", 12, 34, "stop", cost_nanos=1_500_000, currency="USD"))
        async for event in super().produce(turn):
            yield event


@pytest.fixture
async def told(turnwire: Turnwire, settings) -> Turnwire:
    """The command line of an API that has the completed turn `demo` 0."""
    async with worker_of(settings, Counted(text("hello"))):
        await turnwire("send", "demo", "hi")
    return turnwire


async def test_turns_of_a_session(told: Turnwire):
    table = (await told("turns", "demo")).stdout.splitlines()
    assert [line.split("\t") for line in table] == [
        ["index", "status", "attempt", "parent", "model", "message", "answer", "usage"],
        ["0", "completed", "1", "none", "-", "hi", "hello", "12 in / 34 out tokens · 0.0015 USD"],
    ]
    [record] = await told.json("turns", "demo")
    assert record["run_id"] == "chat:demo:0"
    assert "no such session" in (await told("turns", "other", code=1)).stderr


async def test_show_tells_what_a_turn_cost(told: Turnwire):
    for words in (["demo"], ["demo", "0"], ["chat:demo:0"]):
        shown = (await told("show", *words)).stdout
        assert "status\tcompleted\n" in shown
        assert "0.0015 USD" in shown
        assert "Attempts that have ended" in shown
    story = await told.json("show", "demo")
    assert story["record"]["final_text"] == "hello"
    assert [row["outcome"] for row in story["attempts"]] == ["completed"]
    assert "no such turn" in (await told("show", "demo", "7", code=1)).stderr


async def test_usage(told: Turnwire):
    for words, name in (([], "your tenant"), (["--session", "demo"], "demo")):
        header, row = (line.split("\t") for line in (await told("usage", *words)).stdout.splitlines())
        assert dict(zip(header, row, strict=True)) == {
            "of": name, "attempts": "1", "model calls": "1", "tokens in": "12", "cached": "0", "tokens out": "34",
            "reasoning": "0", "cost": "0.0015 USD",
        }  # fmt: skip
    assert (await told.json("usage"))["tokens_out"] == 34
    await told("usage", "--all", "--session", "demo", code=2)


async def test_queue(turnwire: Turnwire):
    await turnwire("send", "demo", "hi", "--detach")
    assert "jobs\t1\n" in (await turnwire("queue")).stdout
    assert (await turnwire.json("queue"))["jobs"] == 1


async def test_cancel_a_turn_that_waits_and_one_that_has_ended(turnwire: Turnwire):
    await turnwire("send", "demo", "hi", "--detach")
    assert "chat:demo:0 is cancelled" in (await turnwire("cancel", "demo", "--reason", "enough")).stderr
    assert "had ended already: cancelled" in (await turnwire("cancel", "chat:demo:0")).stderr
    assert (await turnwire.json("cancel", "demo", "0"))["error"]["code"] == "cancelled"


async def test_signal_sends_json_or_text_and_the_first_one_counts(turnwire: Turnwire):
    await turnwire("send", "demo", "hi", "--detach")
    assert "the turn has the signal go" in (await turnwire("signal", "demo", "0", "go", '{"ok":true}')).stderr
    assert 'had this signal already: {"ok":true}' in (await turnwire("signal", "demo", "0", "go", "2", code=1)).stderr
    assert (await turnwire.json("signal", "demo", "0", "text", "not { json"))["payload"] == "not { json"
    assert (await turnwire("signal", "demo", "0", "stdin", "-", "--json", stdin="[1]")).stdout.count("[1]") == 1
    assert "no such turn" in (await turnwire("signal", "demo", "9", "go", code=1)).stderr


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ('{"a":1}', {"a": 1}), ("yes", "yes"), ("NaN", "NaN"), ("", "")]
)
def test_a_payload_is_json_if_it_can_be(text: str, value: object):
    assert turns.json_or_text(text) == value


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9, 16])
async def test_the_latest_turn_is_found_among_many(turnwire: Turnwire, store, count: int):
    for _ in range(count):
        await submit_next(store, SESSION, request(on_busy="concurrent"))
    assert (await turnwire.json("show", "demo"))["record"]["turn_index"] == count - 1


def test_run_ids_name_the_tenant_unless_it_is_the_default_one():
    assert run_id(NamedTurn("demo", 3), "default") == "chat:demo:3"
    assert run_id(NamedTurn("demo", 3), "acme") == "chat:acme~demo:3"
    assert run_id(NamedTurn("demo", 3, "acme"), "default") == "chat:acme~demo:3"


async def test_watch_looks_again_until_ctrl_c(turnwire: Turnwire, monkeypatch):
    looked: list[float] = []

    def sleep(seconds: float) -> None:
        looked.append(seconds)
        if len(looked) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    result = await turnwire("queue", "--watch", "--json", code=130)
    assert [json.loads(line)["jobs"] for line in result.stdout.splitlines()] == [0, 0, 0]


async def test_a_browser_token_is_made_and_taken_back(settings, redis, tmp_path: Path):
    keys = write_key_file(tmp_path / "keys.toml", key_block("server", "tw_server", "acme", ["turns", "tokens"]))
    guarded = msgspec.structs.replace(settings, api_keys_file=str(keys), token_secret="0" * 64)
    async with api_of(guarded) as url:
        server = Turnwire(url, "tw_server")
        token = (await server("tokens", "new", "--session", "demo", "--scope", "turns")).stdout.strip()
        browser = Turnwire(url, token)
        await browser("send", "demo", "hi", "--detach")
        assert "no such" in (await browser("turns", "other", code=1)).stderr
        await server("tokens", "revoke", "--token", "-", stdin=token)
        assert "turnwire: " in (await browser("turns", "demo", code=4)).stderr
        assert (await server.json("tokens", "new", "--session-prefix", "d", "--ttl", "60"))["id"]
        assert (await server.json("tokens", "revoke", "--user", "ada"))["revoked_at"]
        await server("tokens", "new", code=2)
        await server("tokens", "revoke", code=2)


async def test_credentials_that_are_missing_wrong_or_too_weak_end_with_4(settings, redis, tmp_path: Path):
    keys = write_key_file(tmp_path / "keys.toml", key_block("r", "tw_read", "acme", ["read"]))
    async with api_of(msgspec.structs.replace(settings, api_keys_file=str(keys))) as url:
        for key, hint in (("", "set TURNWIRE_API_KEY"), ("tw_wrong", "set TURNWIRE_API_KEY")):
            assert hint in (await Turnwire(url, key)("turns", "demo", code=4)).stderr
        reader = Turnwire(url, "tw_read")
        assert "turnwire info" in (await reader("send", "demo", "hi", code=4)).stderr
        assert "turnwire info" in (await reader("queue", code=4)).stderr
        (tmp_path / "key").write_text("tw_read\n")
        by_file = await Turnwire(url)("turns", "demo", "--key-file", str(tmp_path / "key"), code=1)
        assert "no such session" in by_file.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["queue", "--url", "nonsense"], "not the URL of an API"),
        (["queue", "--key-file", "/nowhere/key"], "--key-file: /nowhere/key cannot be read"),
        (["send", "a b", "hi"], "a session has 1 to 128 characters"),
        (["send", "demo", "hi", "--new", "--parent", "1"], "give one of them only"),
        (["show", "chat:demo:0", "1"], "give one of them only"),
        (["pause", "worker", "x"], "'worker' is not one of"),
        (["nonsense"], "No such command"),
        (["send", "demo"], "Missing argument"),
    ],
)
async def test_wrong_usage_ends_with_2(words: list[str], text: str):
    result = await Turnwire("http://127.0.0.1:1")(*words, code=2)
    assert text in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("words", [["queue"], ["send", "demo", "hi"], ["tail", "demo", "0"], ["show", "demo"]])
async def test_an_api_that_is_not_there_ends_with_3(words: list[str]):
    began_s = time.monotonic()
    result = await Turnwire(f"http://127.0.0.1:{free_port()}")(*words, code=3)
    assert "no API answers at http://127.0.0.1:" in result.stderr
    assert "turnwire dev" in result.stderr
    assert time.monotonic() - began_s < 10


async def test_another_web_server_is_not_taken_for_an_api():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\nhi!\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (
            "is this the URL of a Turnwire API?" in (await Turnwire(f"http://127.0.0.1:{port}")("queue", code=1)).stderr
        )


async def test_keys_new_makes_a_key_without_a_server(tmp_path: Path):
    file = tmp_path / "keys.toml"
    words = ["keys", "new", "--name", "k", "--tenant", "acme", "--scope", "read", "--scope", "admin"]
    made = await Turnwire("http://127.0.0.1:1")(*words, "--append", str(file))
    assert made.stdout.startswith("tw_")
    assert parse_key_file(file.read_text()).named["k"].scopes == {"read", "admin"}
    await Turnwire("http://127.0.0.1:1")("keys", "new", "--name", "a b", "--tenant", "acme", code=2)


def test_keys_and_tokens_may_get_the_scopes_that_the_api_knows():
    assert {scope.value for scope in access.KeyScope} == set(typing.get_args(KeyScope))
    assert {scope.value for scope in access.TokenScope} == {"read", "turns"}


@pytest.mark.parametrize(("record", "text"), [({}, None), ({"parent": -1}, "none"), ({"parent": 3}, "3")])
def test_a_turn_that_begins_a_conversation_has_no_parent(record, text):
    assert summary.parent_text(record) == text


@pytest.mark.parametrize(
    ("usage", "text"),
    [
        ({}, None),
        ({"model_calls": 1, "tokens_in": None, "tokens_out": None}, "tokens unknown"),
        ({"model_calls": 1, "tokens_in": 3, "tokens_out": None, "partial": True}, "3 in / ? out tokens (partial)"),
    ],
)
def test_unknown_usage_is_no_zero(usage, text):
    assert summary.usage_text(usage) == text


def run(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "turnwire", *words]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TURNWIRE_")}
    return subprocess.run(argv, cwd=ROOT, env=plain | env, capture_output=True, text=True, check=False, timeout=30)


def test_help_loads_nothing_that_takes_long():
    code = "import sys; from turnwire.cli.app import app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    heavy = {"httpx", "redis", "arq", "uvicorn", "starlette", "msgspec", "asyncio", "rich", "turnwire.shared"}
    assert heavy & set(loaded.split()) == set()
    assert run("--version").stdout == f"{__version__}\n"


def test_the_shell_completes_commands():
    asked = {"_TURNWIRE_COMPLETE": "complete_bash", "COMP_WORDS": "turnwire wor", "COMP_CWORD": "1"}
    assert sorted(run(**asked).stdout.split()) == ["worker", "workers"]


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        (["api"], ["-m", "turnwire.api"]),
        (["api", "--check"], ["-m", "turnwire.api", "--check"]),
        (["worker", "--check"], ["-m", "turnwire.worker", "--check"]),
        (["dev", "--workers", "2", "--quiet"], [str(ROOT / "dev.py"), "run", "--workers", "2", "--quiet"]),
        (["bench", "turns", "--fast"], [str(ROOT / "dev.py"), "bench", "turns", "--fast"]),
        (["chaos", "--minutes", "5"], [str(ROOT / "dev.py"), "chaos", "--minutes", "5"]),
    ],
)
async def test_processes_replace_the_command_and_get_its_options(words, argv, monkeypatch):
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, whole: became.append(whole))
    await Turnwire("http://127.0.0.1:1")(*words)
    assert became == [[sys.executable, *argv]]


async def test_what_needs_a_checkout_says_so_in_an_install(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(processes, "CHECKOUT", tmp_path)
    for name in ("bench", "chaos"):
        result = await Turnwire("http://127.0.0.1:1")(name, code=2)
        assert f"`turnwire {name}` needs a checkout" in result.stderr
