"""`turnwire doctor` on the ways to a server: TLS and Sentinels."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stack.sentinels import SentinelGroup
from tests.cli.asking import Turnwire
from turnwire import __version__
from turnwire.cli.api_client import Api
from turnwire.cli.doctor.findings import Level
from turnwire.cli.doctor.service import check_api

URLS = ["http://turnwire.example.com", "https://turnwire.example.com", "http://127.0.0.1:8000", "http://localhost"]


async def doctor(redis_url: str, *, code: int) -> list[str]:
    result = await Turnwire("")("doctor", code=code, env={"TURNWIRE_REDIS_URL": redis_url})
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def certificate(folder: Path, *, days: int) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that signs itself. Returns the files of the certificate and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    kind, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, secret))
    return files


@asynccontextmanager
async def behind_tls(redis_url: str, files: tuple[Path, Path]) -> AsyncIterator[int]:
    """Take TLS connections for a server that speaks none. Yields the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    ends: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_unix_connection(urlsplit(redis_url).path)
        ends.extend((writer, inner[1]))
        await asyncio.gather(pump(reader, inner[1]), pump(inner[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in ends:
            writer.transport.abort()


async def test_the_certificate_of_the_server_is_looked_at(redis_url: str, redis, tmp_path: Path):
    files = certificate(tmp_path, days=10)
    async with behind_tls(redis_url, files) as port:
        found = await doctor(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={files[0]}", code=1)  # it has no AOF
        assert "WARN transport TLSv1.3; the certificate is valid for 10 more days" in found
        found = await doctor(f"rediss://127.0.0.1:{port}/0", code=1)
        assert found[1].startswith("FAIL connection the server does not answer: ")
        assert "fix name your certificate authority in the URL: ?ssl_ca_certs=/path/to/ca.pem" in found
        found = await doctor(f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none", code=1)
        assert "WARN transport the certificate is not checked" in found


def test_a_key_that_goes_over_the_network_in_the_clear_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Api, "get", lambda *_: {"version": __version__, "scopes": []})
    levels = {url: [each.level for each in check_api(Api(url, "tw_k"), asked_for=True)] for url in URLS}
    assert [url for url, found in levels.items() if Level.WARN in found] == ["http://turnwire.example.com"]


async def test_sentinels_that_are_away():
    found = await doctor("redis+sentinel://127.0.0.1:1/main", code=1)
    assert found[1].startswith("FAIL sentinels 0 of 1 Sentinels answer, and none names the primary")


@pytest.mark.long
async def test_sentinels_lead_to_the_primary(tmp_path: Path):
    with SentinelGroup(tmp_path, replicas=1) as group:
        found = await doctor(group.url, code=1)  # it has no AOF
        port = urlsplit(group.primary.url).port
        assert f"OK sentinels 3 of 3 Sentinels answer; the primary is 127.0.0.1 port {port}" in found
        assert "WARN replicas min-replicas-to-write is 0" in found
        group.sentinels[2].kill()
        assert "WARN" not in (await doctor(group.url, code=1))[1]
        assert (await doctor(group.url, code=1))[1] == "FAIL sentinels 2 of 3 Sentinels answer"
