"""Ask again until Redis answers."""

import pytest

from turnwire.shared.errors import AttemptFenced, StoreUnavailable
from turnwire.shared.store import patience
from turnwire.shared.store.patience import until_answered


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.0)


async def test_it_asks_until_there_is_an_answer():
    answers = [StoreUnavailable("no"), StoreUnavailable("no"), "yes"]

    async def ask():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await until_answered(ask) == "yes"
    assert answers == []


async def test_a_refusal_is_an_answer():
    async def ask():
        raise AttemptFenced("lost")

    with pytest.raises(AttemptFenced):
        await until_answered(ask)
