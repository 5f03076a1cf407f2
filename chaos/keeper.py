"""Restarts processes that ended by themselves. Such an end is a finding, unless a turn was told to end the process."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stack.process import Service

LOOK_S = 0.1
LEDGER_END = 1 << 18  # how many of the ledger's last bytes are searched for the last call of a process


class Keeper:
    """Restarts `services` until `run` is cancelled. It leaves a service alone while a strike holds it with `held`."""

    def __init__(self, services: Sequence[Service], ledgers: Sequence[Path]) -> None:
        self.findings: list[str] = []
        self.ended: Counter[str] = Counter()  # why processes ended although nobody had struck them
        self._services = services
        self._ledgers = ledgers
        self._held: set[str] = set()

    async def run(self) -> None:
        """Look at all services several times a second."""
        while True:
            for service in self._services:
                if not service.running and str(service.log_path) not in self._held:
                    self.look_at(service)
                    service.start()
            await asyncio.sleep(LOOK_S)

    def look_at(self, service: Service) -> None:
        """Restart a process if it has ended although nobody asked it to, and note why."""
        if self.by_its_turn(service):
            self.ended["killed by its turn"] += 1
        else:
            self.findings.append(f"{service.name} ended with {service.exit_code}: {service.last_lines()}")

    @contextmanager
    def held(self, service: Service) -> Iterator[None]:
        """Leave this process alone meanwhile, because the caller strikes it and starts it again."""
        name = str(service.log_path)
        self._held.add(name)
        try:
            if not service.running:  # it ended between two looks
                self.look_at(service)
                service.start()
            yield
        finally:
            self._held.discard(name)

    def by_its_turn(self, service: Service) -> bool:
        """Return whether the last thing that this process did was a turn that had to end it."""
        return any(f'"pid": {service.pid}, "call": "die"' in _end_of(ledger) for ledger in self._ledgers)


def _end_of(ledger: Path) -> str:
    if not ledger.exists():
        return ""
    with ledger.open("rb") as file:
        file.seek(max(0, ledger.stat().st_size - LEDGER_END))
        return file.read().decode(errors="replace")
