"""All APIs are restarted one after the other behind the proxies of deploy/, while clients ask turns."""

import asyncio
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest

from chaos.client import Answer
from tests.clients.proxies import PROXIES, SITE, Proxied, running
from tests.support.scene import scene
from tests.support.waiting import let_pass, wait_until

pytestmark = pytest.mark.clients
PAUSE_S: Final = 0.02
NOTICED_S: Final = 4.0  # several checks: by then a proxy has noticed that an API is back, also on a busy machine
SHUTDOWN_DELAY_S: Final = {"Caddyfile": "3"}  # it repeats no POST that has reached an API, so it must leave in time


class Asking:
    """Asks one turn after the other. `refused`: the codes, or else the statuses, of requests that it had to repeat."""

    def __init__(self, proxied: Proxied) -> None:
        self.asked: list[Answer] = []
        self.refused: list[str] = []
        self._proxied = proxied

    async def run(self) -> None:
        async with self._proxied.http() as http:
            while True:
                answer = self._proxied.scene.turn(events=2)
                while not await self._ask(http, answer):
                    await let_pass(PAUSE_S)
                self.asked.append(answer)
                await let_pass(PAUSE_S)

    async def _ask(self, http: httpx.AsyncClient, answer: Answer) -> bool:
        body = {"message": "hi", "metadata": answer.metadata}
        request = self._proxied.ask(http, "POST", answer.path, body)
        request.headers["Prefer"] = "respond-async"
        response = await http.send(request)
        if response.status_code in {200, 202}:
            return True
        is_problem = response.headers.get("content-type") == "application/problem+json"
        self.refused.append(response.json()["code"] if is_problem else str(response.status_code))
        return False


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", PROXIES)
async def test_no_client_notices_a_rolling_restart(name: str, certificate: Path, tmp_path: Path):
    env = {"TURNWIRE_ALLOWED_HOSTS": f"{SITE},127.0.0.1", "TURNWIRE_SHUTDOWN_DELAY_S": SHUTDOWN_DELAY_S.get(name, "0")}
    async with scene(tmp_path, apis=2, env=env) as view:
        apis = [urlsplit(url).netloc for url in view.stack.base_urls]
        with running(name, tmp_path, apis, certificate) as port:
            proxied = Proxied(name, view, port)
            await wait_until(proxied.is_ready, "the proxy is ready")
            await let_pass(NOTICED_S)
            asking = Asking(proxied)
            tasks = [asyncio.create_task(asking.run()) for _ in range(4)]
            for api, url in zip(view.stack.api, view.stack.base_urls, strict=True):
                before = len(asking.asked)
                await wait_until(lambda: len(asking.asked) > before + 20, "some turns are asked")  # noqa: B023
                api.terminate()
                await wait_until(lambda: not api.running, "the API ends")  # noqa: B023
                api.start()
                await wait_until(lambda: _answers(url), "the API is back")  # noqa: B023
                await let_pass(NOTICED_S)
            failed = [task.exception() for task in tasks if task.done()]
            for task in tasks:
                task.cancel()
        assert failed == []
        print(f"{name}: {len(asking.asked)} turns asked, {len(asking.refused)} refused")
        assert asking.refused == []
        await view.ended(*asking.asked)
        assert {await view.status(answer) for answer in asking.asked} == {"completed"}


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as http:
        try:
            return (await http.get(f"{url}/readyz")).status_code == 200
        except httpx.TransportError:
            return False
