"""Real Sentinels fail over while turns stream. No log gets a gap or two answers, and no model is asked again.

`python3 dev.py bench failover` does the same with 200 turns, ten times for each kind.
"""

from pathlib import Path

import pytest

from tests.support.sentinel_failovers import failovers, is_possible

TURNS = 20


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("kind", "queue_database"),
    [
        pytest.param("ordered", 1, marks=pytest.mark.long),
        pytest.param("planned", None, marks=pytest.mark.long),
        ("killed", None),
    ],
)
async def test_turns_outlive_a_failover(tmp_path: Path, kind: str, queue_database: int | None):
    if not is_possible(kind):
        pytest.skip("this server fails over at once, or not at all")
    async with failovers(tmp_path, TURNS, queue_database=queue_database) as service:
        outcome = await service.once(kind)
    assert not outcome.flaws, "\n".join(outcome.flaws)
    assert outcome.produced_again == 0
    assert outcome.reconnected == 0
