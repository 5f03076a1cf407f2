"""A turn that fails in words, numbers or codes that cannot be stored fails once; nobody runs it again for that."""

import logging
from enum import Enum

import pytest

from tests.support.turns import KEY, request
from turnwire import ChatTurnHooks, TurnFailure
from turnwire.worker.attempt.ending import Ending
from turnwire.worker.attempt.outcome import Done


class Code(Enum):
    QUOTA = "quota"


class Fails(ChatTurnHooks):
    def __init__(self, error: Exception) -> None:
        self.error = error
        self.produced = 0

    async def produce(self, turn):
        self.produced += 1
        yield {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": "paid for"}}
        raise self.error


def changed(**attributes):
    error = TurnFailure("own words")
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError("half \ud83d"), "producer_error", "the product failed (ValueError)"),
        (TurnFailure("half \ud83d", code="mine"), "mine", "half \ufffd"),
        (TurnFailure("no more", code=Code.QUOTA), "quota", "no more"),
        (changed(code=Code.QUOTA), "Code.QUOTA", "own words"),
        (changed(retryable="yes"), "turn_failed", "own words"),
    ],
    ids=["surrogate", "surrogate in a failure", "enum", "enum attribute", "retryable"],
)
async def test_it_fails_once_with_its_own_code(store, runner_of, error, code, message, caplog):
    caplog.set_level(logging.CRITICAL, "turnwire.worker.attempt.produce")  # pytest cannot report half a surrogate pair
    hooks = Fails(error)
    await store.submit(KEY, request())
    assert isinstance(await runner_of(hooks).run(KEY.run_id), Done)
    record = await store.record(KEY)
    assert (record.status.value, record.error.code, record.error.message) == ("failed", code, message)
    assert hooks.produced == 1


async def test_an_end_that_cannot_be_written_is_replaced(store, runner_of, monkeypatch, caplog):
    fields = Ending.fields

    def unwritable(ending):
        if ending.error.code != "internal":
            raise TypeError("a defect")
        return fields(ending)

    monkeypatch.setattr(Ending, "fields", unwritable)
    await store.submit(KEY, request())
    assert isinstance(await runner_of(Fails(ValueError("x"))).run(KEY.run_id), Done)
    record = await store.record(KEY)
    assert (record.status.value, record.error.code) == ("failed", "internal")
    assert "cannot be written as it is" in caplog.text


class Says(ChatTurnHooks):
    async def produce(self, turn):
        yield {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": "paid for"}}


async def test_an_answer_whose_end_could_not_be_written_has_its_events_when_it_is_asked_again(
    store, runner_of, monkeypatch
):
    fields = Ending.fields

    def unwritable(ending):
        if ending.error is None:
            raise TypeError("a defect")
        return fields(ending)

    with monkeypatch.context() as patch:
        patch.setattr(Ending, "fields", unwritable)
        await store.submit(KEY, request())
        await runner_of(Says()).run(KEY.run_id)
    assert (await store.record(KEY)).error.code == "internal"
    await store.submit(KEY, request())
    await runner_of(Says()).run(KEY.run_id)
    record, entries = await store.record(KEY), await store.read(KEY, None, 100)
    assert record.final_text == "paid for"
    assert [b"message.part.updated" in entry.event for entry in entries].count(True) == 1
