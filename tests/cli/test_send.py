"""`turnwire send` and `turnwire tail`, with a real API and real workers."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stack.cluster import ROOT
from tests.cli.asking import Turnwire, worker_of
from tests.stack.watching import interruptible
from tests.support.following import Writer
from tests.support.product import HOLD, Product, Scripted, text
from tests.support.proxy import Proxy
from tests.support.turns import KEY, SESSION, take_over
from tests.support.waiting import wait_until
from turnwire.cli import talking
from turnwire.cli.following import follow

REASONING = {"type": "reasoning.delta", "data": {"delta": "thinking"}}


@pytest.fixture
async def held(settings) -> AsyncIterator[Scripted]:
    """A worker runs this product, which says a word, waits for its gate, and says another one."""
    hooks = Scripted(text("one "), HOLD, text("two"))
    async with worker_of(settings, hooks):
        yield hooks


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the events that were shown."""
    ids: list[str] = []

    def follow_and_note(*args: Any, **options: Any) -> Any:
        for event in follow(*args, **options):
            yield event
            ids.append(event["id"])

    monkeypatch.setattr(talking, "follow", follow_and_note)
    return ids


async def test_send_asks_the_next_turn_and_prints_the_final_answer(turnwire: Turnwire, settings):
    async with worker_of(settings, Product(REASONING, text("hello "), text("world\x1b[2J"))):
        result = await turnwire("send", "demo", "hi", "--model", "m", "--project", "p", "--user", "ada")
        assert result.stdout == "HELLO WORLD[2J\n"  # what the hook transform_final_text made of it
        assert "completed · chat:demo:0 · attempt 1" in result.stderr
        await turnwire("send", "demo", "-", "--new", stdin="from stdin\n")
        events = (await turnwire("send", "demo", "again", "--json")).stdout.splitlines()
    types = [json.loads(line)["type"] for line in events]
    assert (types[0], types[-1]) == ("session.run.started", "session.run.completed")
    first, second, third = await turnwire.json("turns", "demo")
    asked = {name: first[name] for name in ("message", "model", "project", "user", "parent")}
    assert asked == {"message": "hi", "model": "m", "project": "p", "user": "ada", "parent": -1}
    assert (second["message"], second["parent"]) == ("from stdin\n", -1)
    assert third["parent"] == 1


async def test_a_turn_that_fails_ends_the_command_with_1(turnwire: Turnwire, settings):
    async with worker_of(settings, Scripted(text("half"), RuntimeError("secret"))):
        result = await turnwire("send", "demo", "hi", code=1)
    assert result.stdout == "half\n"
    assert "producer_error" in result.stderr
    assert "failed · chat:demo:0" in result.stderr


async def test_send_of_an_index_that_is_completed_shows_the_answer_again(turnwire: Turnwire, settings):
    hooks = Scripted(text("once"))
    async with worker_of(settings, hooks):
        for _ in range(2):
            assert (await turnwire("send", "demo", "hi", "--index", "4")).stdout == "once\n"
    assert len(hooks.turns) == 1
    refused = await turnwire("send", "demo", "something else", "--index", "4", code=1)
    assert "turnwire: " in refused.stderr


async def test_detach_prints_the_run_id_and_tail_follows_the_turn(turnwire: Turnwire, held: Scripted):
    assert (await turnwire("send", "demo", "hi", "--detach")).stdout == "chat:demo:0\n"
    following = asyncio.create_task(turnwire("tail", "demo", "0"))
    await held.holding.wait()
    held.gate.set()
    assert (await following).stdout == "one two\n"
    later = (await turnwire("tail", "chat:demo:0", "--after", "1-1", "--json")).stdout.splitlines()
    assert [json.loads(line)["id"] for line in later] == ["1-2", "1-3", "1-4"]
    assert (await turnwire("tail", "demo", "0", "--after", "1-4", "--json")).stdout == ""


async def test_a_connection_that_is_cut_is_made_again_at_the_cursor(url: str, held: Scripted, seen: list[str]):
    async with Proxy(url) as proxy:
        turnwire = Turnwire(proxy.url.replace("redis://", "http://").removesuffix("/0"))
        sending = asyncio.create_task(turnwire("send", "demo", "hi", "--json"))
        await wait_until(lambda: len(seen) == 2, "the first word to be shown")
        proxy.cut()
        held.gate.set()
        result = await sending
    ids = [json.loads(line)["id"] for line in result.stdout.splitlines()]
    assert ids == [f"1-{seq}" for seq in range(5)]
    assert "connection lost (" in result.stderr
    assert "connected again" in result.stderr


async def test_an_api_that_does_not_come_back_ends_the_command_with_3_and_the_cursor(
    url: str, held: Scripted, seen: list[str]
):
    async with Proxy(url) as proxy:
        turnwire = Turnwire(proxy.url.replace("redis://", "http://").removesuffix("/0"))
        sending = asyncio.create_task(turnwire("send", "demo", "hi", "--retry-for", "0.3", code=3))
        await wait_until(lambda: len(seen) == 2, "the first word to be shown")
        proxy.lead_to("redis://127.0.0.1:1")
        proxy.cut()
        result = await sending
    assert "turnwire tail demo 0 --after 1-1" in result.stderr


async def test_a_takeover_is_shown_and_what_it_takes_back_is_not_printed(turnwire: Turnwire, store, seen: list[str]):
    writer = await (await Writer(store, KEY).submit()).claim()
    await writer.say("I think ")
    following = asyncio.create_task(turnwire("tail", "demo", "0"))
    await wait_until(lambda: len(seen) == 2, "the first delta to be shown")
    writer.take(await take_over(store))
    await writer.say("I know")
    await writer.end("I know")
    result = await following
    assert result.stdout == "I know\n"
    assert "takeover: the worker died or lost its lease, and attempt 2 has taken the turn over" in result.stderr
    assert "the last 8 characters of the answer are written anew" in result.stderr


async def test_ctrl_c_detaches_and_the_turn_goes_on(turnwire: Turnwire, held: Scripted, monkeypatch):
    with monkeypatch.context() as interrupting:
        interrupting.setattr(talking, "SECOND_INTERRUPT_S", 0)
        interrupting.setattr(talking, "follow", interrupted_after(2))
        result = await turnwire("send", "demo", "hi", code=130)
    assert "detached: the turn goes on; `turnwire tail demo 0` follows it" in result.stderr
    held.gate.set()
    assert (await turnwire("tail", "demo", "0")).stdout == "one two\n"


@pytest.mark.usefixtures("held")
async def test_ctrl_c_cancels_if_that_was_asked(turnwire: Turnwire, monkeypatch):
    with monkeypatch.context() as interrupting:
        interrupting.setattr(talking, "follow", interrupted_after(2))
        result = await turnwire("send", "demo", "hi", "--cancel-on-interrupt", code=130)
    assert "the turn is cancelled" in result.stderr
    ended = await turnwire("tail", "demo", "0", code=1)
    assert "cancelled · chat:demo:0" in ended.stderr


def interrupted_after(count: int) -> Any:
    """Follow as always, but press Ctrl-C after so many events."""

    def follow_and_interrupt(*args: Any, **options: Any) -> Any:
        for number, event in enumerate(follow(*args, **options), 1):
            yield event
            if number == count:
                raise KeyboardInterrupt

    return follow_and_interrupt


async def until_it_says(output: asyncio.StreamReader, words: bytes) -> None:
    said = b""
    while words not in said:
        line = await output.readline()
        assert line, said.decode()  # otherwise it has ended
        said += line


async def test_a_second_ctrl_c_of_a_real_process_cancels_the_turn(turnwire: Turnwire, store, held: Scripted):
    process = await asyncio.create_subprocess_exec(
        *interruptible("-m", "turnwire", "send", "demo", "hi"),
        cwd=ROOT, env=os.environ | turnwire.env, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    await held.holding.wait()
    await until_it_says(process.stderr, b"has started")
    process.send_signal(signal.SIGINT)
    await until_it_says(process.stderr, b"detached")
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert b"cancelled" in err

    async def is_cancelled() -> bool:
        return (await store.existing(SESSION.turn(0))).status == "cancelled"

    await wait_until(is_cancelled, "the turn to be cancelled")
