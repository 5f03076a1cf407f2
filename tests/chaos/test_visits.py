"""Sessions are asked again: chaos finds an index or a message id that repeats, and a turn that is gone too early."""

import json
import time
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from chaos.client import Answer
from chaos.visits import CheckedAtOnce, Visits


class Client:
    """A client whose API says of every turn that it has failed, or that it does not exist."""

    def __init__(self, status: int) -> None:
        self.status = status

    async def record(self, _: Answer) -> dict[str, Any]:
        response = httpx.Response(self.status, request=httpx.Request("GET", "http://api/"))
        response.raise_for_status()
        return {"status": "failed", "error": {"code": "bad_word"}}

    async def submit_next(self, *_: object) -> None:
        raise NotImplementedError


def answer_of(index: int) -> Answer:
    return Answer("s", index, {}, asked_s=time.monotonic())


async def test_a_message_id_that_comes_again_is_found(tmp_path):
    ledger = tmp_path / "ledger"
    lines = [{"run_id": f"chat:s:{index}", "call": "persisted", "message_id": "m"} for index in range(2)]
    ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
    deployment: Any = SimpleNamespace(
        ledger=ledger, client=Client(200), redis=None, load=SimpleNamespace(kept_s=60, expired=0)
    )
    check = CheckedAtOnce(deployment)
    for index in range(2):
        await check(answer_of(index))
    assert "message m is the answer of chat:s:0 and chat:s:1" in check.findings
    assert sum("it ended as" in text for text in check.findings) == check.checked == 2


@pytest.mark.parametrize(("age_s", "found"), [(0, 1), (31, 0)])
async def test_a_turn_that_is_gone_too_early_is_found_unless_it_may_have_expired(tmp_path, age_s, found):
    deployment: Any = SimpleNamespace(
        ledger=tmp_path / "none", client=Client(404), redis=None, load=SimpleNamespace(kept_s=60, expired=0)
    )
    check = CheckedAtOnce(deployment)
    answer = answer_of(0)
    answer.asked_s -= age_s
    await check(answer)
    assert (len(check.findings), deployment.load.expired) == (found, 1 - found)


class Load:
    """Gives these indexes to the turns of a session, one after the other."""

    def __init__(self, indexes: list[int]) -> None:
        self.indexes = indexes

    def answer(self, session: str, index: int) -> Answer:
        return Answer(session, index, {})

    async def until_answered(self, *_: object) -> httpx.Response:
        return httpx.Response(202, json={"turn_index": self.indexes.pop(0)})

    async def read(self, _: Answer) -> None:
        pass


@pytest.mark.parametrize(("indexes", "found"), [([0, 1, 2], 0), ([0, 0, 1], 1), ([1, 2, 0], 1)])
async def test_an_index_that_comes_again_is_found(monkeypatch, indexes, found):
    monkeypatch.setattr("chaos.visits.MARGIN_S", 0.0)
    deployment: Any = SimpleNamespace(client=Client(200), load=Load(indexes))
    visits = Visits(deployment, retention_s=0.01)
    await visits._come("s")
    assert (len(visits.findings), visits.crossed) == (found, 2)
