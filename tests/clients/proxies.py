"""The proxies of deploy/ before a service of the tests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from stack import proxies
from stack.proxies import PROXIES, SITE, ProgramMissing, trusting
from tests.support.scene import Scene
from tests.support.waiting import LIMIT_S

__all__ = ["PROXIES", "SITE", "Proxied", "running", "trusting"]


class Proxied:
    """A service behind a proxy."""

    def __init__(self, name: str, scene: Scene | None, port: int) -> None:
        self.name = name
        self._scene = scene
        self.port = port

    @property
    def scene(self) -> Scene:
        """The service; another program may stand in its place."""
        assert self._scene is not None
        return self._scene

    def http(self, local_address: str | None = None) -> httpx.AsyncClient:
        """A client of HTTP/1.1 that trusts the proxy's certificate."""
        transport = httpx.AsyncHTTPTransport(verify=trusting(), local_address=local_address)
        return httpx.AsyncClient(transport=transport, timeout=LIMIT_S, trust_env=False)

    async def is_ready(self, path: str = "") -> bool:
        """Whether the proxy passes a request on, below this path."""
        async with self.http() as http:
            try:
                return (await http.send(self.ask(http, "GET", f"{path}/readyz"))).status_code == 200
            except httpx.TransportError:
                return False

    def ask(self, http: httpx.AsyncClient, method: str, path: str, body: object = None) -> httpx.Request:
        url = f"https://127.0.0.1:{self.port}{path}"
        return http.build_request(
            method, url, json=body, headers={"Host": SITE}, extensions={"sni_hostname": SITE}
        )  # fmt: skip


@contextmanager
def running(name: str, folder: Path, apis: Sequence[str], certificate: Path, path: str = "") -> Iterator[int]:
    """The proxy before these APIs, below this path; its port. The test is skipped if its program is not there."""
    try:
        started = proxies.running(name, folder, apis, certificate, path)
        port = started.__enter__()
    except ProgramMissing as missing:
        pytest.skip(str(missing))
    try:
        yield port
    finally:
        started.__exit__(None, None, None)
