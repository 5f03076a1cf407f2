"""Redis URLs: what is refused instead of being read in part, and whom a TLS connection trusts."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from stack.redis_server import RedisServer
from turnwire.shared.errors import SettingsError
from turnwire.shared.store.connect import connect, connect_listener

READABLE = [
    "redis://h", "redis://h/", "redis://h:6379/0", "redis://u:p%40ss%2Fw%23@h:6379/3", "rediss://h/12", "redis://h?db=0",
    "redis://[::1]:6379/1", "unix:///run/redis.sock", "unix://u:p@/run/redis.sock?db=6",
]  # fmt: skip
UNREADABLE = {
    "redis:/:opensesame@db.example:6390/3": "no host",
    "redis:///3": "no host",
    "redis://:opensesame@/3": "no host",
    "redis:db.example:6379": "no host",
    "redis://db.example/abc": "must be a number",
    "redis://db.example/0/1": "must be a number",
    "redis://:open/sesame@db.example/0": "quote",
    "redis://:open#sesame@db.example/0": "quote",
    "redis://db.example:99999/0": "not a Redis URL",
    "redis://db.example?foo=bar": "unknown option",
    "redis://db.example?db=x": "unknown option",
    "unix://": "names no socket",
    "db.example:6379": "not a Redis URL",
    "http://db.example": "not a Redis URL",
    "": "not a Redis URL",
}


@pytest.mark.parametrize("url", READABLE)
def test_a_url_is_read(url: str):
    connect(url, connections=1)


@pytest.mark.parametrize("url", UNREADABLE)
def test_a_url_that_would_be_read_in_part_is_refused_with_a_sentence(url: str):
    with pytest.raises(SettingsError) as refusal:
        connect(url, connections=1)
    assert UNREADABLE[url] in str(refusal.value)
    assert not [part for part in ("sesame", "db.example") if part in str(refusal.value)]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that is its own authority, for localhost only, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(
        [openssl, *options.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60
    )
    return certificate, key


@pytest.fixture
async def tls_port(tmp_path: Path, certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """Passes TLS connections on to a Redis."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    tasks: set[asyncio.Task[Any]] = set()
    with RedisServer(tmp_path / "redis") as server:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.current_task())  # type: ignore[arg-type]
            up_reader, up_writer = await asyncio.open_unix_connection(server.url.removeprefix("unix://"))
            try:
                await asyncio.gather(_pass_on(reader, up_writer), _pass_on(up_reader, writer))
            finally:
                up_writer.close()
                writer.transport.abort()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        yield listening.sockets[0].getsockname()[1]
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.mark.parametrize("make", [lambda url: connect(url, connections=1), connect_listener])
async def test_a_server_whose_certificate_is_for_another_name_is_not_trusted(
    tls_port: int, certificate: tuple[Path, Path], make: Any
):
    async def ping(host: str, query: str = "") -> None:
        client = make(f"rediss://{host}:{tls_port}/0?ssl_ca_certs={certificate[0]}{query}")
        try:
            assert await client.ping()
        finally:
            await client.aclose(close_connection_pool=True)

    await ping("localhost")
    with pytest.raises(RedisConnectionError, match="certificate"):
        await ping("127.0.0.1")
    for chosen in ("&ssl_check_hostname=false", "&ssl_cert_reqs=none"):
        await ping("127.0.0.1", chosen)
