"""Keeps every answer in PostgreSQL, once.

A worker may die after it has written the row, and before Turnwire has noted that. The next attempt then calls
`persist_assistant_message` again with the same `turn.message_id`. Here this id is the primary key and the insert is an
upsert, so there is one row. The offline demo makes the answers; your own `produce` can take its place. Run it, ask the
turn of the README, and look:

    CHATS_DSN=postgresql://localhost/chats TURNWIRE_HOOKS=examples.postgres_persist:hooks python3 dev.py
    psql postgresql://localhost/chats -c 'SELECT * FROM messages'
"""

import asyncio
import os
import uuid

import asyncpg

from turnwire import Turn
from turnwire.backends import DemoHooks

CREATE = """
    SELECT pg_advisory_xact_lock(1);  -- two workers must not create the table at once
    CREATE TABLE IF NOT EXISTS messages (
        id uuid PRIMARY KEY, tenant text NOT NULL, session text NOT NULL, turn integer NOT NULL, text text NOT NULL
    )
"""
UPSERT = """
    INSERT INTO messages (id, tenant, session, turn, text) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (id) DO UPDATE SET text = excluded.text
"""


class PostgresHooks(DemoHooks):
    """The offline demo, whose answers are kept. While the database is away, the outbox tries until it is back."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._dsn = dsn
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def persist_assistant_message(self, turn: Turn, final_text: str) -> None:
        """Store the answer in one statement, which is a transaction of its own: the whole row is there, or nothing."""
        async with self._opening:  # at the first turn: a pool belongs to the worker's event loop
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._dsn, min_size=1, max_size=4, command_timeout=10, init=lambda db: db.execute(CREATE)
                )
        message_id = uuid.UUID(turn.message_id)
        await self._pool.execute(UPSERT, message_id, turn.tenant_id, turn.session_id, turn.turn_index, final_text)

    async def aclose(self) -> None:
        """Close the connections when the worker stops."""
        if self._pool is not None:
            await self._pool.close()


hooks = PostgresHooks(os.environ.get("CHATS_DSN", "postgresql://localhost/chats"))
