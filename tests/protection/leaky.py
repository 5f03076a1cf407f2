"""Products that say the test's secret when they fail, as drivers of databases and model servers do."""

import os
import threading
from collections.abc import AsyncIterator
from typing import Any

from turnwire import ChatTurnHooks, Turn

SECRET = os.environ.get("PROTECTION_SECRET", "")

if os.environ.get("PROTECTION_FAILS_AT_IMPORT"):
    raise ConnectionError(f"cannot connect to postgresql://app:{SECRET}@db.internal:5432/app")

FORMS = [
    "cannot connect to postgresql://app:{}@db.internal/app", "GET https://host/v1?api_key={} failed",
    "401 for Authorization: Bearer {}", "connect(user='app', password='{}')", "{{'token': '{}'}}",
]  # fmt: skip


class Leaky(ChatTurnHooks):
    """Fails in each hook, with the secret in another form each time."""

    async def produce(self, turn: Turn) -> AsyncIterator[dict[str, Any]]:
        thread = threading.Thread(target=self._fail, args=(0,))
        thread.start()
        thread.join()
        yield {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": "hello"}}
        if turn.message == "fail":
            self._fail(1)

    def _fail(self, form: int) -> None:
        raise RuntimeError(FORMS[form].format(SECRET))

    async def persist_assistant_message(self, turn: Turn, final_text: str) -> None:
        self._fail(2)

    async def on_event(self, turn: Turn, event: Any) -> None:
        self._fail(3)

    async def trace_flush(self, turn: Turn) -> None:
        self._fail(4)


hooks = Leaky()
