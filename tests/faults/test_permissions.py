"""The Redis users of deploy/redis may do everything that the two processes need, and nothing else."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from stack.cluster import ROOT
from stack.redis_server import RedisServer
from tests.support.redis_users import TURNWIRE_USERS, refused_commands, scene_with_users, use_everything, users_of
from tests.support.scene import Scene
from turnwire.shared.store.connect import connect

# What is sent by another way than a script: the command, and the text that sends it, in this file.
SENT: Final = {
    "ping": ("api/endpoints/probes.py", "client.ping()"),
    "info": ("api/endpoints/probes.py", "client.info("),
    "eval": ("shared/store/scripts.py", '"EVAL"'),
    "evalsha": ("shared/store/scripts.py", '"EVALSHA"'),
    "subscribe": ("worker/pool/liveness.py", '"SUBSCRIBE"'),
    "unsubscribe": ("api/following/listener.py", "UNSUBSCRIBE"),
    "hkeys": ("shared/store/erasures.py", '"HKEYS"'),
}
SENT_BY_WORKERS: Final = {
    "blpop": ("worker/pool/hints.py", ".blpop("),
    "scan": ("shared/store/reads.py", ".scan("),
}
SENT_BY_APIS: Final = {
    "hstrlen": ("shared/store/turn_story.py", ".hstrlen("),
    "memory": ("shared/store/turn_story.py", ".memory_usage("),
}
SENT_BY_LIBRARIES: Final = {"client": "redis-py says its name", "psetex": "arq's key of health"}


@pytest.fixture
async def restricted(tmp_path: Path) -> AsyncIterator[Scene]:
    """Run the processes, each with its own user."""
    with RedisServer(tmp_path / "redis") as server:
        admin = connect(server.url, connections=1)
        for name, rules in users_of("users.acl").items():
            if name != "default":  # the test's own user
                await admin.execute_command("ACL", "SETUSER", name, "reset", *rules)
        await admin.aclose(close_connection_pool=True)
        async with scene_with_users(tmp_path, server.url, server) as view:
            yield view


async def test_everything_works_with_these_users(restricted: Scene):
    connected = {client["user"] for client in await restricted.redis.client_list()}
    assert connected == {"default", *TURNWIRE_USERS}
    await use_everything(restricted)
    # The API asks for the server's settings at its start, and only to report them.
    assert await refused_commands(restricted) <= {("turnwire-api", "config|get")}


def commands_of_scripts() -> set[str]:
    scripts = (ROOT / "shared" / "store" / "lua").rglob("*.lua")
    called = {
        name for path in scripts for name in re.findall(r"redis\.p?call\('(\w+)'", path.read_text(encoding="utf-8"))
    }
    assert len(called) > 20
    return {name.lower() for name in called}


def allowed_to(user: str) -> set[str]:
    """Return the commands, without subcommands."""
    return {rule[1:].partition("|")[0] for rule in users_of("users.acl")[user] if rule.startswith("+")}


@pytest.mark.parametrize("user", TURNWIRE_USERS)
def test_a_user_may_send_exactly_what_its_process_sends(user: str):
    sent = SENT | (SENT_BY_APIS if user == "turnwire-api" else SENT_BY_WORKERS)
    from_libraries = {"client"} if user == "turnwire-api" else set(SENT_BY_LIBRARIES)
    for command, (path, text) in sent.items():
        assert text in (ROOT / path).read_text(encoding="utf-8"), f"{path} does not send {command} any more"
    assert allowed_to(user) == commands_of_scripts() | sent.keys() | from_libraries


async def test_these_users_may_not_do_more(restricted: Scene):
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
