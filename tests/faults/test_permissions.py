"""The Redis users that the documentation shows may do everything that the two processes need, and nothing else."""

import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stack.cluster import ROOT, Stack
from stack.redis_server import RedisServer
from tests.support.scene import SETTINGS, Scene, open_gate
from tests.support.waiting import wait_until
from turnwire.shared.store.connect import connect

PAGE = ROOT / "docs" / "how-to" / "deploying.md"


def documented_users() -> dict[str, list[str]]:
    """Return the rules of each user, as they are on the documentation's page."""
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    commands = [shlex.split(line) for line in re.findall(r"^redis-cli (ACL SETUSER .*)$", text, re.MULTILINE)]
    return {name: rules for _, _, name, *rules in commands}


def url_of(server: RedisServer, user: str, rules: list[str]) -> str:
    (password,) = [rule[1:] for rule in rules if rule.startswith(">")]
    return server.url.replace("://", f"://{user}:{password}@")


@pytest.fixture
async def restricted(tmp_path: Path) -> AsyncIterator[Scene]:
    """Run the processes, each with its own user."""
    users = documented_users()
    with RedisServer(tmp_path / "redis") as server:
        admin = connect(server.url, connections=1)
        for name, rules in users.items():
            await admin.execute_command("ACL", "SETUSER", name, "reset", *rules)
        await admin.aclose(close_connection_pool=True)
        ledger = tmp_path / "ledger"
        env = SETTINGS | {"CHAOS_LEDGER": str(ledger), "TURNWIRE_REDIS_URL": server.url}
        stack = Stack(tmp_path, workers=2, apis=1, env=env)
        for service in stack.services:
            user = "turnwire-" + service.name.rstrip("0123456789")
            service.env["TURNWIRE_REDIS_URL"] = url_of(server, user, users[user])
        with stack:
            stack.redis = server
            async with Scene(stack, ledger) as view:
                yield view


async def test_everything_works_with_the_documented_users(restricted: Scene):
    view, client = restricted, restricted.client
    connected = {client["user"] for client in await view.redis.client_list()}
    assert connected == {"default", "turnwire-api", "turnwire-worker"}  # `default` is the test's own user
    plain = await view.ask(view.turn())
    assert plain.types[-1] == "session.run.completed"

    gate = view.gate_of_each_attempt()
    taken = view.turn(events=4, gate={"2": str(gate)})
    reading = view.ask(taken)
    worker = await view.runs_on(taken)
    await view.called(taken, "produce")
    worker.kill()
    await view.called(taken, "produce", 2)
    open_gate(gate, 2)
    assert (await reading).types[-1] == "session.run.completed"

    awaits = view.turn(signal="approval")
    reading = view.ask(awaits)

    async def suspended() -> bool:
        return await view.status(awaits) == "suspended"

    await wait_until(suspended, "the turn waits for its signal")
    assert (await client.signal(awaits, "approval", 7)).status_code == 202
    assert (await reading).types[-1] == "session.run.completed"

    stopped = view.turn(gate={"0": str(view.gate())})
    reading = view.ask(stopped)
    await view.called(stopped, "produce")
    assert (await client.cancel(stopped, "enough")).status_code == 202
    assert (await reading).types[-1] == "session.run.failed"
    assert await view.status(stopped) == "cancelled"

    for path in (f"/v1/sessions/{plain.session}/turns", f"/v1/sessions/{plain.session}/usage", f"{plain.path}/ledger"):
        assert (await client.http.get(client.base_url() + path)).status_code == 200
    for path in ("/v1/usage", "/v1/admin/persist", "/readyz"):
        assert (await client.http.get(client.base_url() + path)).status_code == 200
    answer = await client.http.delete(f"{client.base_url()}/v1/sessions/{plain.session}")
    assert answer.status_code == 200
    view.stack.stop()  # they drain
    refused = await view.redis.execute_command("ACL", "LOG")
    named = [(entry[entry.index(b"username") + 1], entry[entry.index(b"object") + 1]) for entry in refused]
    # The API asks for the server's settings at its start, and only to report them.
    assert set(named) <= {(b"turnwire-api", b"config|get")}, named


@pytest.mark.parametrize("user", ["turnwire-api", "turnwire-worker"])
def test_every_command_of_a_script_is_permitted(user: str):
    scripts = (ROOT / "shared" / "store" / "lua").rglob("*.lua")
    called = {
        name for path in scripts for name in re.findall(r"redis\.p?call\('(\w+)'", path.read_text(encoding="utf-8"))
    }
    assert len(called) > 20
    assert {name.lower() for name in called} <= {rule[1:].partition("|")[0] for rule in documented_users()[user]}


async def test_the_documented_users_may_not_do_more(restricted: Scene):
    refused = [
        ("turnwire-api", "FLUSHALL"), ("turnwire-api", "CONFIG", "GET", "*"), ("turnwire-api", "CLIENT", "LIST"),
        ("turnwire-api", "BLPOP", "turnwire:hints", "1"), ("turnwire-worker", "KEYS", "*"),
        ("turnwire-worker", "ACL", "LIST"), ("turnwire-worker", "GET", "other:key"),
    ]  # fmt: skip
    if (await restricted.redis.info("server"))["redis_version"].startswith("6."):
        pytest.skip("ACL DRYRUN came with Redis 7")
    for user, *command in refused:
        answer = await restricted.redis.execute_command("ACL", "DRYRUN", user, *command)
        assert answer != b"OK", (user, command)
