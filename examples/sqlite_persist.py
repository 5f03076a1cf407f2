"""Keeps every answer in SQLite, once.

A worker may die after it has written the row, and before Turnwire has noted that. The next attempt then calls
`persist_assistant_message` again with the same `turn.message_id`. Here this id is the primary key and the insert is an
upsert, so there is one row. The offline demo makes the answers; your own `produce` can take its place. Run it, ask the
turn of the README, and look:

    CHATS_DB=chats.db TURNWIRE_HOOKS=examples.sqlite_persist:hooks python3 dev.py
    sqlite3 chats.db 'SELECT * FROM messages'
"""

import os
import sqlite3
from contextlib import closing

from turnwire import Turn
from turnwire.backends import DemoHooks

CREATE = """
    CREATE TABLE IF NOT EXISTS messages (
        id TEXT PRIMARY KEY, tenant TEXT NOT NULL, session TEXT NOT NULL, turn INTEGER NOT NULL, text TEXT NOT NULL
    )
"""
UPSERT = """
    INSERT INTO messages (id, tenant, session, turn, text) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET text = excluded.text
"""


class SqliteHooks(DemoHooks):
    """The offline demo, whose answers are kept."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def persist_assistant_message(self, turn: Turn, final_text: str) -> None:
        """Store the answer. Turnwire runs a plain function in a thread: a slow disk holds up no other turn."""
        row = (turn.message_id, turn.tenant_id, turn.session_id, turn.turn_index, final_text)
        with closing(sqlite3.connect(self._path, timeout=10)) as db, db:  # the inner one commits
            db.execute(CREATE)
            db.execute(UPSERT, row)


hooks = SqliteHooks(os.environ.get("CHATS_DB", "chats.db"))
