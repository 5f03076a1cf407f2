"""Workers and APIs with a fault at one of their writes: they die before it, die after it, or lose its reply."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from chaos.client import Answer
from stack.network import free_port
from stack.process import Service
from tests.support.scene import Scene
from tests.support.waiting import wait_until

MODES = ["before", "after", "lost"]


@asynccontextmanager
async def faulty_workers(
    view: Scene, write: str, *, survivor_last: bool = False, **env: str
) -> AsyncIterator[list[Service]]:
    """Start a faulty worker for each mode, while the ordinary one stands still. They are stopped at the end.

    `survivor_last`: the worker that survives its fault starts when the others have met theirs, in `until_all_struck`.
    Otherwise it might run all the turns while the others are still starting.
    """
    view.stack.worker[0].pause()
    services = [
        view.worker(f"{write}-{mode}", "tests.support.crashing_worker", CRASH_AT=f"{write}:{mode}", **env)
        for mode in MODES
    ]
    try:
        for service in services[:-1] if survivor_last else services:
            service.start()
        yield services
    finally:
        view.stack.worker[0].resume()
        for service in services:
            if service.running:
                service.kill()


def struck(service: Service) -> bool:
    return "crash point reached" in service.log()


def struck_or_ended(service: Service) -> bool:
    return struck(service) or not service.running


async def until_all_struck(services: list[Service]) -> None:
    for service in services:
        if not service.log_path.exists():
            service.start()
        try:
            await wait_until(partial(struck_or_ended, service), f"the fault of {service.name}", 30)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{service.last_lines()}") from None
        assert struck(service), f"{service.name} ended without its fault:\n{service.last_lines()}"


def crashing_api(view: Scene, crash_at: str, **env: str) -> tuple[Service, str]:
    port = free_port()
    env = {"CRASH_AT": crash_at, "TURNWIRE_PORT": str(port), **env}
    service = view.worker(f"api-{crash_at}", "tests.support.crashing_api", **env)
    return service, f"http://127.0.0.1:{port}"


async def all_accepted(view: Scene, answers: list[Answer]) -> bool:
    queued = [run_id.decode() for run_id in await view.redis.zrange("arq:queue", 0, -1)]
    return all(answer.run_id in queued for answer in answers)
