"""The text of a product whose own packages have the names of Turnwire's folders. It runs with an installed Turnwire."""

from pathlib import Path
from typing import Final

import turnwire
import turnwire.backends
import turnwire.testing

FILES: Final = {
    "api/__init__.py": "",
    "worker/__init__.py": "",
    "shared/__init__.py": "",
    "shared/words.py": 'GREETING: str = "hello from the product"\n',
    "legal_app.py": """
from collections.abc import AsyncIterator

import api
import turnwire
import worker
from shared.words import GREETING
from turnwire import ChatStreamEvent, ChatTurnHooks, LedgerRow, Turn


class LegalHooks(ChatTurnHooks):
    async def produce(self, turn: Turn) -> AsyncIterator[dict[str, object]]:
        words = await turn.step("greet", lambda: f"{GREETING}, {turn.message}", kind="tool")
        for part in (words, "|", turnwire.__file__, "|", api.__file__, "|", worker.__file__):
            yield {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": part}}

    async def persist_assistant_message(self, turn: Turn, final_text: str) -> None:
        print("persisted", turn.message_id, final_text, flush=True)

    def on_event(self, turn: Turn, event: ChatStreamEvent) -> None:
        print("event", event.type, flush=True)

    def on_ledger_row(self, turn: Turn, row: LedgerRow) -> None:
        print("row", row.outcome, flush=True)


hooks = LegalHooks()
""",
}


def public_names() -> dict[str, list[str]]:
    """List the names that a product may import, by module."""
    return {module.__name__: module.__all__ for module in (turnwire, turnwire.backends, turnwire.testing)}


def write(directory: Path) -> Path:
    """Write the product, and a module that imports every public name."""
    imports = [f"from {module} import {name}" for module, names in public_names().items() for name in names]
    uses = [line.rpartition(" ")[2] for line in imports]
    consumer = "\n".join([*imports, "", f"everything: list[object] = [{', '.join(uses)}]", ""])
    for name, text in (FILES | {"consumer.py": consumer}).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory
