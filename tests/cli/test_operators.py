"""What operators see with `turnwire`: which worker runs a turn, why another one waits, and what it cost."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import turnwire as package
from tests.cli.asking import Turnwire, api_of, worker_of
from tests.support.key_file import key_block, write_key_file
from tests.support.product import HOLD, Scripted, text
from tests.support.waiting import wait_until
from turnwire import ModelCall, Turn
from turnwire.cli.turns import waits_text


class Careful(Scripted):
    """Makes a step, says what that cost, and waits at its gate."""

    async def produce(self, turn: Turn):
        await turn.step("search", lambda: ["Doe v. Roe"], kind="tool")
        turn.usage.add(ModelCall("m", 12, 34, "stop", cost_nanos=1_500_000, currency="USD"))
        async for event in super().produce(turn):
            yield event


@pytest.fixture
async def running(turnwire: Turnwire, settings) -> AsyncIterator[Careful]:
    """A worker that runs turn 0 of the session demo, while turn 1 waits for it."""
    hooks = Careful(text("one "), HOLD, text("two"))
    async with worker_of(settings, hooks):
        await turnwire("send", "demo", "first", "--detach", "--project", "legal")
        await hooks.holding.wait()
        await turnwire("send", "demo", "second", "--detach")
        yield hooks


def rows(stdout: str) -> list[dict[str, str]]:
    header, *lines = (line.split("\t") for line in stdout.splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def fields(stdout: str) -> dict[str, str]:
    """The names and values that come before the first empty line."""
    lines = stdout.partition("\n\n")[0].splitlines()
    return dict(line.split("\t") for line in lines)


@pytest.mark.usefixtures("running")
async def test_which_worker_runs_a_turn(turnwire: Turnwire, settings):
    [worker] = rows((await turnwire("workers")).stdout)
    assert (worker["state"], worker["version"], worker["projects"]) == ("alive", package.__version__, "all")
    assert worker["slots"].endswith(f"/{settings.max_jobs}")  # its heartbeat tells how many of them it uses
    assert worker["turns"].startswith("chat:demo:0 (")
    [lease] = rows((await turnwire("leases")).stdout)
    assert (lease["run id"], lease["worker"], lease["attempt"]) == ("chat:demo:0", worker["worker"], "1")
    assert lease["project"] == "legal"
    assert lease["lease"].endswith(" of 3.0s")
    [same] = await turnwire.json("leases")
    assert 0 < same["lease_ttl_ms"] <= 3000
    assert [each["id"] for each in await turnwire.json("workers")] == [worker["worker"]]
    shown = (await turnwire("show", "demo", "0")).stdout
    assert fields(shown)["worker"].startswith(f"{worker['worker']}, lease for ")
    assert "Steps\nname\tstatus\t" in shown
    assert "search\tcompleted\t1\t" in shown


@pytest.mark.usefixtures("running")
async def test_why_another_turn_waits(turnwire: Turnwire):
    [waits] = rows((await turnwire("turns", "--state", "queued")).stdout)
    assert waits["run id"] == "chat:demo:1"
    assert waits["waits for"].startswith("the earlier turn chat:demo:0, for ")
    assert fields((await turnwire("show", "demo")).stdout)["waits for"].startswith("the earlier turn chat:demo:0, for ")
    found = await turnwire.json("turns", "--project", "legal")
    assert [turn["run_id"] for turn in found] == ["chat:demo:0"]
    newest = await turnwire.json("turns", "--limit", "1")
    assert [turn["run_id"] for turn in newest] == ["chat:demo:1"]
    assert await turnwire.json("turns", "--search", "nothing") == []


async def test_why_turns_wait_for_a_worker_an_operator_and_a_signal(turnwire: Turnwire, settings):
    async with worker_of(settings, Asking()):
        await turnwire("send", "asks", "hi", "--detach")

        async def suspended() -> Any:
            return await turnwire.json("turns", "--state", "suspended")

        await wait_until(suspended, "it is suspended")
    shown = fields((await turnwire("show", "asks")).stdout)
    assert shown["waits for"].startswith("the signal approval, for ")
    assert shown["worker"].startswith("none now; the last one was ")
    assert shown["usage"] == "no model was called"
    await turnwire("pause", "project", "tax")
    await turnwire("send", "paused", "hi", "--project", "tax", "--detach")
    assert fields((await turnwire("show", "paused")).stdout)["waits for"].startswith(
        "an operator: the project tax is paused, for "
    )
    assert "`turnwire resume project tax` starts its turns" in (await turnwire("queue")).stdout
    await turnwire("send", "busy", "hi", "--detach")
    shown = fields((await turnwire("show", "busy")).stdout)
    assert shown["waits for"].startswith("a free slot of a worker in default, for ")
    assert shown["usage"] == "not known before an attempt ends"
    listed = {row["run id"]: row["worker"] for row in rows((await turnwire("turns")).stdout)}
    assert listed == {"chat:busy:0": "-", "chat:paused:0": "-", "chat:asks:0": "-"}


class Asking(Scripted):
    """A product that waits for an approval."""

    async def produce(self, turn: Turn) -> AsyncGenerator[Any]:
        await turn.signal("approval")
        yield text("done")


@pytest.mark.parametrize(
    ("reason", "detail", "shown"),
    [
        ("unserved", "tax", "a worker with hooks for the project tax"),
        ("unserved", None, "a worker with hooks for turns without a project"),
        ("suspect", None, "an idle worker, because workers died over it"),
        ("retry", "1767225590000", "its next try"),
        ("of_a_later_version", "x", "of_a_later_version x"),
    ],
)
def test_what_a_turn_waits_for_in_words(reason: str, detail: str | None, shown: str):
    waits = {"reason": reason, "detail": detail, "since": 1_000}
    assert waits_text(waits, 3_000) == f"{shown}, for 2.0s"


async def test_what_a_turn_cost(turnwire: Turnwire, running: Careful):
    running.gate.set()
    await turnwire("tail", "demo", "1")
    [_, first] = rows((await turnwire("turns", "--state", "completed")).stdout)
    assert (first["run id"], first["cost"]) == ("chat:demo:0", "0.0015 USD")
    story = await turnwire.json("show", "chat:demo:0")
    assert story["turn"]["cost"] == {"cost_nanos": 1_500_000, "currency": "USD"}
    assert story["log"]["events"] == 5
    shown = fields((await turnwire("show", "chat:demo:0")).stdout)
    assert shown["usage"] == "12 in / 34 out tokens · 0.0015 USD"
    assert shown["log"].startswith("5 events, ")
    assert shown["answer"] == "one two"


@pytest.mark.usefixtures("running")
async def test_the_queue_says_what_waits(turnwire: Turnwire, settings):
    assert fields((await turnwire("queue")).stdout)["open turns"] == "2"
    assert (await turnwire.json("queue"))["open"] == 2


async def test_info(turnwire: Turnwire):
    shown = (await turnwire("info")).stdout
    assert fields(shown)["version"] == package.__version__
    assert {"admin", "read", "turns"} <= set(fields(shown)["scopes"].split(", "))
    assert "max_body_bytes\t" in shown
    assert (await turnwire.json("info"))["features"]["branches"] is True
    found = json.loads(
        (await turnwire("doctor", "--json", code=1, env={"TURNWIRE_REDIS_URL": "redis://127.0.0.1:1"})).stdout
    )
    levels = {finding["check"]: finding["level"] for finding in found["findings"]}
    assert levels == {"connection": "fail", "api": "ok", "access": "ok", "version": "ok"}


async def test_an_operator_sees_the_turns_of_every_tenant_and_a_tenant_its_own(settings, redis, tmp_path: Path):
    keys = write_key_file(
        tmp_path / "keys.toml",
        key_block("acme", "tw_acme", "acme", ["turns"]),
        key_block("ops", "tw_ops", "ops", ["admin"]),
    )
    async with api_of(msgspec.structs.replace(settings, api_keys_file=str(keys))) as url:
        acme, ops = Turnwire(url, "tw_acme"), Turnwire(url, "tw_ops")
        assert (await acme("send", "demo", "hi", "--detach")).stdout == "chat:acme~demo:0\n"
        assert [turn["tenant_id"] for turn in await ops.json("turns", "--tenant", "acme")] == ["acme"]
        assert (await ops.json("show", "chat:acme~demo:0"))["record"]["message"] == "hi"
        story = await acme.json("show", "demo")
        assert story["record"]["run_id"] == "chat:acme~demo:0"
        assert "lease" not in story
        await acme("show", "chat:other~demo:0", code=4)
        await acme("turns", code=4)
        assert fields((await ops("info")).stdout)["scopes"] == "admin"
