"""Starts processes again that ended by themselves. Unless a turn was told to end them, that is a finding."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stack.process import Service

LOOK_S = 0.1
LEDGER_END = 1 << 18  # bytes of the ledger that are looked through for the last call of a process


class Keeper:
    """`run` looks after `services` until it is cancelled; `held` keeps it away from one that is being struck."""

    def __init__(self, services: Sequence[Service], ledgers: Sequence[Path]) -> None:
        self.findings: list[str] = []
        self.ended: Counter[str] = Counter()  # why processes ended that nobody had struck
        self._services = services
        self._ledgers = ledgers
        self._held: set[str] = set()

    async def run(self) -> None:
        """Look, several times a second."""
        while True:
            for service in self._services:
                if not service.running and str(service.log_path) not in self._held:
                    self.look_at(service)
                    service.start()
            await asyncio.sleep(LOOK_S)

    def look_at(self, service: Service) -> None:
        """A process has ended that nobody had asked to."""
        if self.by_its_turn(service):
            self.ended["killed by its turn"] += 1
        else:
            self.findings.append(f"{service.name} ended with {service.exit_code}: {service.last_lines()}")

    @contextmanager
    def held(self, service: Service) -> Iterator[None]:
        """Whoever strikes this process starts it again."""
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
        """A turn that shall end its process was the last thing that this process did."""
        return any(f'"pid": {service.pid}, "call": "die"' in _end_of(ledger) for ledger in self._ledgers)


def _end_of(ledger: Path) -> str:
    if not ledger.exists():
        return ""
    with ledger.open("rb") as file:
        file.seek(max(0, ledger.stat().st_size - LEDGER_END))
        return file.read().decode(errors="replace")
