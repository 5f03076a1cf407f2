"""The proxies of deploy/, with their files as they are but for ports and certificates: streams, leaves, refusals."""

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest

from stack.cluster import ROOT, Stack
from stack.network import free_port
from tests.support.scene import SETTINGS, Scene
from tests.support.waiting import LIMIT_S, let_pass, wait_until

pytestmark = pytest.mark.clients
SITE: Final = "chat.example.com"
START_S: Final = 20.0
SILENCE_S: Final = 65.0


@pytest.fixture(scope="module")
def proxied_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("proxies")
    env = SETTINGS | {"CHAOS_LEDGER": str(directory / "ledger"), "TURNWIRE_ALLOWED_HOSTS": f"{SITE},127.0.0.1"}
    with Stack(directory, workers=1, env=env) as stack:
        yield stack
        assert "Traceback" not in stack.api[0].log()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of turnwire.key and of turnwire.pem, which holds the certificate and the key, as HAProxy wants it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificate")
    key, made = folder / "turnwire.key", folder / "turnwire.pem"
    options = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={SITE} -addext subjectAltName=DNS:{SITE}"
    subprocess.run([openssl, *options.split(), "-keyout", key, "-out", made], check=True, capture_output=True)
    made.write_text(made.read_text() + key.read_text())
    return folder


def nginx(text: str, folder: Path, port: int) -> tuple[str, list[str]]:
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{name}_temp_path {folder}/{name};" for name in temporary)
    text = text.replace("http {", f"http {{ access_log off; {places}", 1)
    main = f"daemon off; pid {folder}/pid; error_log {folder}/error.log;"
    return text.replace("listen 443", f"listen 127.0.0.1:{port}"), ["-p", str(folder), "-g", main, "-c"]


def haproxy(text: str, _: Path, port: int) -> tuple[str, list[str]]:
    return text.replace("bind :443", f"bind 127.0.0.1:{port}"), ["-db", "-f"]


def caddy(text: str, _: Path, port: int) -> tuple[str, list[str]]:
    if subprocess.check_output(["caddy", "version"], text=True).lstrip("v").startswith("2.6.2"):  # that of Debian 12
        text = text.replace("request_buffers 1MiB", "buffer_requests")
    own = "tls /etc/ssl/turnwire.pem /etc/ssl/turnwire.key\n\tbind 127.0.0.1"
    text = text.replace(
        f"{SITE} {{", f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{SITE}:{port} {{\n\t{own}", 1
    )
    return text, ["run", "--adapter", "caddyfile", "--config"]


PROXIES: Final = {
    "nginx.conf": nginx, "haproxy.cfg": haproxy, "Caddyfile": caddy,
}  # fmt: skip


class Proxied:
    """A service behind a proxy."""

    def __init__(self, scene: Scene, port: int) -> None:
        self.scene = scene
        self.port = port

    def http(self, timeout_s: float = LIMIT_S) -> httpx.AsyncClient:
        return httpx.AsyncClient(verify=_trusting(), timeout=timeout_s, trust_env=False)

    def ask(self, http: httpx.AsyncClient, method: str, path: str, body: object = None) -> httpx.Request:
        url = f"https://127.0.0.1:{self.port}{path}"
        return http.build_request(
            method, url, json=body, headers={"Host": SITE}, extensions={"sni_hostname": SITE}
        )  # fmt: skip


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def running(name: str, folder: Path, api: str, certificate: Path) -> Iterator[int]:
    """The proxy; its port."""
    program = shutil.which(PROXIES[name].__name__, path="/usr/sbin:/usr/local/bin:/usr/bin:/bin")
    if program is None:
        pytest.skip(f"needs the program of {name}")
    port = free_port()
    text = (ROOT / "deploy" / name).read_text(encoding="utf-8").replace("127.0.0.1:8000", api)
    text, options = PROXIES[name](text, folder, port)
    (folder / name).write_text(text.replace("/etc/ssl/", f"{certificate}/"), encoding="utf-8")
    with (folder / "log").open("wb") as log:
        command = [program, *options, str(folder / name)]
        env = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
        with subprocess.Popen(command, stdout=log, stderr=log, env=env) as process:
            try:
                yield port
            finally:
                process.terminate()


@pytest.fixture(params=PROXIES)
async def proxied(
    request: pytest.FixtureRequest, proxied_stack: Stack, certificate: Path, tmp_path: Path
) -> AsyncIterator[Proxied]:
    api = urlsplit(proxied_stack.base_urls[0]).netloc
    async with Scene(proxied_stack, tmp_path / "ledger") as scene:
        with running(request.param, tmp_path, api, certificate) as port:
            found = Proxied(scene, port)
            async with found.http() as http:

                async def ready() -> bool:
                    try:
                        return (await http.send(found.ask(http, "GET", "/readyz"))).status_code == 200
                    except httpx.TransportError:
                        return False

                try:
                    await wait_until(ready, "the proxy is ready", START_S)
                except AssertionError:
                    raise AssertionError((tmp_path / "log").read_text()) from None
            yield found


@asynccontextmanager
async def stream(
    proxied: Proxied, path: str, body: object, timeout_s: float = LIMIT_S
) -> AsyncIterator[AsyncIterator[str]]:
    async with proxied.http(timeout_s) as http:
        response = await http.send(proxied.ask(http, "POST", path, body), stream=True)
        try:
            assert response.status_code == 200
            yield response.aiter_lines()
        finally:
            await response.aclose()


async def test_lines_pass_while_the_turn_runs_and_a_leave_cancels(proxied: Proxied):
    scene, gate = proxied.scene, proxied.scene.gate()
    answer = scene.turn(events=3, gate={"1": str(gate)})
    body = {"message": "hi", "metadata": answer.metadata, "on_disconnect": "cancel"}
    async with stream(proxied, answer.path, body) as lines:
        seen = [json.loads(await anext(lines)) for _ in range(2)]
        assert await scene.status(answer) == "running"
        gate.touch()
        seen += [json.loads(line) async for line in lines]
    assert seen[-1]["type"] == "session.run.completed"

    left = scene.turn(events=3, gate={"1": str(scene.gate())})
    async with stream(proxied, left.path, body | {"metadata": left.metadata}) as lines:
        await anext(lines)

    async def cancelled() -> bool:
        return await scene.status(left) == "cancelled"

    await wait_until(cancelled, "the leave was passed on")


async def test_operators_come_another_way(proxied: Proxied):
    async with proxied.http() as http:
        assert (await http.send(proxied.ask(http, "GET", "/v1/admin/persist"))).status_code == 404


async def test_a_client_that_offers_h2c_is_served(proxied: Proxied):
    answer = proxied.scene.turn()
    body = json.dumps({"message": "hi", "metadata": answer.metadata}).encode()
    head = f"POST {answer.path} HTTP/1.1\r\nHost: {SITE}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    head += f"HTTP2-Settings: AAMAAABkAAQAAP__\r\nPrefer: respond-async\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", proxied.port, ssl=_trusting(), server_hostname=SITE)
    writer.write(head.encode() + body)
    async with asyncio.timeout(LIMIT_S):
        status = (await reader.readline()).split()[1]
    writer.close()
    assert status in {b"200", b"202"}  # the turn may have ended by then


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_silence_of_more_than_a_minute_breaks_no_stream(proxied: Proxied):
    """Common proxies end a connection after 50 or 60 s without a byte. A line of NDJSON may take a tool longer."""
    scene, gate = proxied.scene, proxied.scene.gate()
    answer = scene.turn(events=3, gate={"1": str(gate)})
    body = {"message": "hi", "metadata": answer.metadata, "on_disconnect": "cancel"}
    async with stream(proxied, answer.path, body, 2 * SILENCE_S) as lines:
        first = json.loads(await anext(lines))
        await let_pass(SILENCE_S)
        gate.touch()
        types = [first["type"]] + [json.loads(line)["type"] async for line in lines]
    assert types[-1] == "session.run.completed"
    assert "session.run.resumed" not in types
