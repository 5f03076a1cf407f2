"""The configuration of Redis and of Sentinel in deploy/redis, with TLS, under real turns."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis

from stack.network import free_port
from stack.process import ProcessError, Service
from stack.redis_server import RedisServer, find_server, server_version
from tests.support.redis_users import (
    FOLDER,
    refused_commands,
    scene_with_users,
    url_as,
    use_everything,
    users_of,
    with_passwords,
)
from tests.support.waiting import wait_until

START_LIMIT_S = 20.0


@dataclass
class TlsServer:
    """A server that a test has started; `url` is that of an operator."""

    url: str


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an authority, and a certificate for localhost that it has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt",
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout redis.key -out redis.csr",
        "x509 -req -in redis.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out redis.crt",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


@contextmanager
def running(name: str, folder: Path, certificates: Path, text: str, *options: str) -> Iterator[None]:
    """Run a server with a configuration of deploy/redis, whose paths lead into the folder."""
    folder.mkdir()
    for users in FOLDER.glob("*.acl"):
        rules = with_passwords(users.read_text(encoding="utf-8"))
        if re.match(r"Redis (6|7\.[01])\.", server_version()):
            rules = rules.replace(" +client|setinfo", "")  # these refuse the name of a command that they do not know
        (folder / users.name).write_text(rules, encoding="utf-8")
    text = with_passwords(text).replace("/etc/redis/tls", str(certificates)).replace("/etc/redis", str(folder))
    (folder / name).write_text(text.replace("dir /data", f"dir {folder}"), encoding="utf-8")
    service = Service(name, [*find_server(), str(folder / name), *options], dict(os.environ), folder / "log")
    service.start()
    try:
        service.wait_until(lambda: re.search("eady to accept connections|Sentinel ID is", service.log()) is not None,
                           START_LIMIT_S)  # fmt: skip
        yield
    except ProcessError as error:
        if re.search("TLS support|connection type tls|Bad directive", str(error)):
            pytest.skip("this server was built without TLS")
        raise
    finally:
        if service.running:
            service.kill()


@contextmanager
def tls_server(tmp_path: Path, certificates: Path) -> Iterator[tuple[int, str]]:
    """Run a server. Yields its port, and the query that every URL needs."""
    port = free_port()
    text = (FOLDER / "redis.conf").read_text(encoding="utf-8").replace("tls-port 6379", f"tls-port {port}")
    with running("redis.conf", tmp_path / "redis", certificates, text):
        yield port, f"ssl_ca_certs={certificates}/ca.crt"


def operator(url: str) -> RedisServer:
    """Return the URL of an operator in the place of a server, of which nothing else is asked."""
    return cast("RedisServer", TlsServer(url_as(url, "operator", users_of("users.acl")["operator"])))


async def test_turns_run_with_tls_and_the_users(tmp_path: Path, certificates: Path):
    with tls_server(tmp_path, certificates) as (port, query):
        url = f"rediss://localhost:{port}/0?{query}"
        async with scene_with_users(tmp_path, url, operator(url)) as view:
            await use_everything(view)
            assert await refused_commands(view) <= {("turnwire-api", "config|get")}


async def test_turns_run_with_tls_and_the_users_of_sentinels(tmp_path: Path, certificates: Path):
    with tls_server(tmp_path, certificates) as (port, query), ExitStack() as sentinels:
        ports = [free_port(), free_port()]
        for at in ports:
            text = (FOLDER / "sentinel.conf").read_text(encoding="utf-8").replace("tls-port 26379", f"tls-port {at}")
            text = text.replace("redis-0.example.com 6379 2", f"localhost {port} 2")
            folder = tmp_path / f"sentinel-{at}"
            sentinels.enter_context(running("sentinel.conf", folder, certificates, text, "--sentinel"))
        query += "&sentinel_username=turnwire&sentinel_password=turnwire-password"
        hosts = ",".join(f"localhost:{at}" for at in ports)
        url = f"rediss+sentinel://{hosts}/main/0?{query}"
        async with scene_with_users(tmp_path, url, operator(url)) as view:
            await use_everything(view)
            assert await refused_commands(view) <= {("turnwire-api", "config|get")}
        for at in ports:
            await each_knows_the_other(at, certificates)


async def each_knows_the_other(port: int, certificates: Path) -> None:
    """Check that a Sentinel knows the server and the other Sentinel, and has refused nothing."""
    password = users_of("sentinel-users.acl")["operator"][1][1:]
    ca = f"{certificates}/ca.crt"
    sentinel = Redis(
        host="localhost", port=port, ssl=True, ssl_ca_certs=ca, username="operator", password=password,
        decode_responses=True,
    )  # fmt: skip

    async def told() -> bool:
        reply = await sentinel.execute_command("SENTINEL", "MASTER", "main")
        state = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
        return state["flags"] == "master" and int(state["num-other-sentinels"]) == 1

    await wait_until(told, "the Sentinels know each other")
    refused = await sentinel.execute_command("ACL", "LOG")
    assert [(entry[entry.index("username") + 1], entry[entry.index("object") + 1]) for entry in refused] == []
    await sentinel.aclose()
