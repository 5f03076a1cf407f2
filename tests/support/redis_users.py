"""The Redis users of deploy/redis, and turns that need everything that these users may do."""

import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from stack.cluster import ROOT, Stack
from stack.redis_server import RedisServer
from tests.support.scene import SETTINGS, Scene, open_gate
from tests.support.waiting import wait_until

FOLDER: Final = ROOT / "deploy" / "redis"
TURNWIRE_USERS: Final = ("turnwire-api", "turnwire-worker")


def with_passwords(text: str) -> str:
    """Put a password in the place of each placeholder: the word itself in small letters."""
    return re.sub(r"\b([A-Z]+)_PASSWORD\b", lambda found: f"{found[1].lower()}-password", text)


def users_of(name: str) -> dict[str, list[str]]:
    """Return the rules of each user in a file of deploy/redis."""
    text = with_passwords((FOLDER / name).read_text(encoding="utf-8"))
    return {user: rules for _, user, *rules in map(shlex.split, text.splitlines())}


def url_as(url: str, user: str, rules: list[str]) -> str:
    """Return the URL with this user and the password that the rules set."""
    (password,) = [rule[1:] for rule in rules if rule.startswith(">")]
    return url.replace("://", f"://{user}:{password}@")


@asynccontextmanager
async def scene_with_users(directory: Path, url: str, server: RedisServer) -> AsyncIterator[Scene]:
    """Run an API and two workers, each with its own user. `server`: what the test itself uses to look into Redis."""
    users = users_of("users.acl")
    ledger = directory / "ledger"
    stack = Stack(directory, workers=2, apis=1, env=SETTINGS | {"CHAOS_LEDGER": str(ledger), "TURNWIRE_REDIS_URL": url})
    for service in stack.services:
        user = "turnwire-" + service.name.rstrip("0123456789")
        service.env["TURNWIRE_REDIS_URL"] = url_as(url, user, users[user])
    with stack:
        stack.redis = server
        async with Scene(stack, ledger) as view:
            yield view


async def use_everything(view: Scene) -> None:
    """Let turns complete, be taken over, wait for a signal, be cancelled, be read and be erased."""
    client = view.client
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
    for path in ("workers", "leases", "turns", f"turns/chat:{plain.session}:{plain.index}"):
        assert (await client.http.get(f"{client.base_url()}/v1/admin/{path}")).status_code == 200
    for path in ("/v1/usage", "/v1/admin/persist", "/v1/admin/queue", "/v1/admin/audit", "/readyz"):
        assert (await client.http.get(client.base_url() + path)).status_code == 200
    answer = await client.http.delete(f"{client.base_url()}/v1/sessions/{plain.session}")
    assert answer.status_code == 200


async def refused_commands(view: Scene) -> set[tuple[str, str]]:
    """Let the processes drain. Returns each user and command that Redis has refused in the meantime."""
    view.stack.stop()
    refused = await view.redis.execute_command("ACL", "LOG")
    return {
        (entry[entry.index(b"username") + 1].decode(), entry[entry.index(b"object") + 1].decode()) for entry in refused
    }
