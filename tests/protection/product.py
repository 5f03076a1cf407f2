"""The conformance product, which also erases its own copy: it tells the test's recorder of each erasure."""

import os

from tests.conformance.product import ConformanceHooks
from turnwire import Erasure


class ErasingHooks(ConformanceHooks):
    async def on_erase(self, erasure: Erasure) -> None:
        call = {"run_id": erasure.id, "attempt": 1, "hook": "on_erase"}
        call |= {"sessions": erasure.sessions, "user": erasure.user}
        (await self._http().post(f"{os.environ['PROTECTION_RECORDER']}/calls", json=call)).raise_for_status()


hooks = ErasingHooks()
