"""The examples that keep answers: if a worker dies between the row and the checkpoint, there is still one row."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from stack.cluster import Stack
from tests.examples.postgres import find_programs, find_user, running_postgres

HERE = Path(__file__).parent
ROWS = "SELECT tenant, session, turn, text FROM messages"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run_and_die(tmp_path: Path) -> Run:
    """Runs one turn of an example whose worker dies after its row was written. Returns the turn's record."""

    def run(example: str, **env: str) -> dict[str, Any]:
        calls = tmp_path / "calls"
        env |= {"EXAMPLE": example, "CALLS": str(calls), "PYTHONPATH": str(HERE), "TURNWIRE_DRAIN_S": "1"}
        env |= {"TURNWIRE_HOOKS": "persist_then_die:hooks", "TURNWIRE_LEASE_MS": "1000"}
        with Stack(tmp_path, workers=2, env=env) as stack, httpx.Client(trust_env=False, timeout=30) as http:
            turn = f"{stack.base_urls[0]}/v1/sessions/demo/turns/0"
            lines = http.post(turn, json={"message": "hello"}).text.splitlines()
            assert '"persisted":true' in lines[-1]
            assert sorted(worker.exit_code is None for worker in stack.worker) == [False, True]
            assert calls.read_text().split() == ["1", "2"], "the hook was not called again, so nothing was tested"
            record: dict[str, Any] = http.get(turn).json()
        return record

    return run


def test_sqlite_has_one_row_after_a_crash(run_and_die: Run, tmp_path: Path):
    database = tmp_path / "chats.db"
    record = run_and_die("examples.sqlite_persist", CHATS_DB=str(database))
    with closing(sqlite3.connect(database)) as db:
        assert db.execute(ROWS).fetchall() == [("default", "demo", 0, record["final_text"])]


@pytest.fixture
def postgres_dsn() -> Iterator[str]:
    programs, user = find_programs(), find_user()
    if programs is None or user is None:
        pytest.skip("there is no PostgreSQL server on this machine, or no user but root to run it")
    with running_postgres(programs, user) as dsn:
        yield dsn


async def test_postgres_has_one_row_after_a_crash(run_and_die: Run, postgres_dsn: str):
    record = run_and_die("examples.postgres_persist", CHATS_DSN=postgres_dsn)
    db = await asyncpg.connect(postgres_dsn)
    try:
        assert [tuple(row) for row in await db.fetch(ROWS)] == [("default", "demo", 0, record["final_text"])]
    finally:
        await db.close()
