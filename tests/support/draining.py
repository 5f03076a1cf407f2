"""Asks workers to stop, and finds what they leave behind."""

from typing import Final

from chaos.client import Answer
from stack.process import Service
from tests.support.scene import Scene
from tests.support.waiting import LOAD_S, wait_until
from turnwire.shared import keys

LONG_LEASE: Final = {"TURNWIRE_LEASE_MS": "60000"}  # no test waits until such a lease ends


def started(answers: list[Answer], deltas: int = 1) -> bool:
    return all(answer.deltas() >= deltas for answer in answers)


async def exited(service: Service, promised_s: float) -> None:
    await wait_until(lambda: not service.running, f"the end of {service.name}", promised_s + LOAD_S)
    assert service.exit_code == 0, service.last_lines()


async def ready(service: Service) -> None:
    await wait_until(lambda: "worker ready" in service.log(since_start=True), f"{service.name} is ready")


async def stranded(view: Scene) -> list[str]:
    """Return the claims of workers that have ended."""
    alive = {service.pid for service in view.stack.worker if service.running}
    names = await view.redis.keys(f"{keys.IN_PROGRESS_PREFIX}*")
    holders = [(name.decode(), await view.redis.get(name)) for name in names]
    return [f"{name} of {who.decode()}" for name, who in holders if who and int(who.split(b"/")[1]) not in alive]
