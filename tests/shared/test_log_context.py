"""Which fields the lines of the log carry, in tasks and threads, and what becomes of the ids that clients send."""

import asyncio
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from io import StringIO
from typing import Any

import pytest

from turnwire.shared.log_context import FIELDS, ContextFilter, begin, learn, nowhere, request_id_of
from turnwire.shared.logs import MOST_CHARACTERS, JsonScrubber, Scrubber

FORM = "%(levelname)s %(name)s: %(message)s"
LOGGER = logging.getLogger("product.of.somebody")
ALL: dict[str, Any] = {"run_id": "chat:demo:0", "attempt": 2, "tenant": "acme", "request_id": "abc"}


@pytest.fixture(params=[Scrubber, JsonScrubber])
def lines(request: pytest.FixtureRequest) -> Iterator[Callable[[], list[Any]]]:
    """What the log has said since the last call: texts, or objects."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(request.param(FORM, ["hidden words"]))
    handler.addFilter(ContextFilter())
    LOGGER.addHandler(handler)

    def read() -> list[Any]:
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return [json.loads(line) for line in text.splitlines()] if request.param is JsonScrubber else text.splitlines()

    yield read
    LOGGER.removeHandler(handler)


def fields(line: Any) -> dict[str, Any]:
    """The fields of a line, in both formats."""
    if isinstance(line, dict):
        return {name: line[name] for name in FIELDS if name in line}
    if not line.endswith("]"):
        return {}
    pairs = (part.partition("=") for part in line.rpartition(" [")[2].rstrip("]").split(" "))
    return {name: int(value) if name == "attempt" else value for name, _, value in pairs}


async def test_a_line_carries_the_fields_of_its_task_also_in_tasks_and_threads_that_it_starts(lines):
    async def inner() -> None:
        LOGGER.warning("in a task")

    async def outer() -> None:
        begin(**ALL)
        LOGGER.warning("here")
        await asyncio.create_task(inner())
        await asyncio.to_thread(LOGGER.warning, "in a thread")
        context = copy_context()
        thread = threading.Thread(target=context.run, args=(LOGGER.warning, "in another thread"))
        thread.start()
        thread.join()

    await asyncio.create_task(outer())
    assert [fields(line) for line in lines()] == [ALL] * 4
    LOGGER.warning("outside")
    assert [fields(line) for line in lines()] == [{}]


async def test_what_one_task_learns_the_lines_of_the_others_say_too(lines):
    learned = asyncio.Event()

    async def inner() -> None:
        learn(attempt=3, request_id=None)
        learned.set()

    async def outer() -> None:
        begin(run_id="chat:demo:0", attempt=2)
        task = asyncio.create_task(inner())
        await learned.wait()
        LOGGER.warning("it goes on")
        await task

    await asyncio.create_task(outer())
    assert [fields(line) for line in lines()] == [{"run_id": "chat:demo:0", "attempt": 3}]
    learn(attempt=4)  # in no context: nothing
    LOGGER.warning("outside")
    assert [fields(line) for line in lines()] == [{}]


async def test_a_task_for_everybody_carries_no_fields(lines):
    async def shared() -> None:
        LOGGER.warning("for all readers")

    async def outer() -> None:
        begin(**ALL)
        await asyncio.create_task(shared(), context=nowhere())

    await asyncio.create_task(outer())
    assert [fields(line) for line in lines()] == [{}]


def test_a_field_that_the_line_names_itself_counts(lines):
    def speak() -> None:
        begin(run_id="chat:mine:0", tenant="acme")
        LOGGER.warning("of another turn", extra={"run_id": "chat:other:1"})

    copy_context().run(speak)
    assert [fields(line) for line in lines()] == [{"run_id": "chat:other:1", "tenant": "acme"}]


@pytest.mark.parametrize("kind", [Scrubber, JsonScrubber])
def test_a_line_may_say_anything_and_a_line_of_json_is_one_object(kind: type[Scrubber]):
    """The record is made by hand: pytest would send it to another process, which takes no half of a surrogate pair."""
    said = 'secret="abc\\" and \ud800 hidden words\nnext line'
    try:
        raise ValueError('a "quoted" \\ text\nwith lines, password=hunter2" and hidden words')
    except ValueError:
        record = LOGGER.makeRecord(LOGGER.name, logging.ERROR, __file__, 1, said, (), sys.exc_info())
    text = kind(FORM, ["hidden words"]).format(record)
    assert not re.search("hidden words|hunter2|abc", text)
    if kind is JsonScrubber:
        assert "\n" not in text
        line = json.loads(text)
        assert (line["level"], line["logger"]) == ("ERROR", "product.of.somebody")
        assert line["time"].endswith("Z")
        assert line["message"].endswith(" and \\ud800 ***\nnext line")
        assert line["exception"].startswith("Traceback")
        assert "ValueError" in line["exception"]


def test_long_messages_and_tracebacks_are_cut(lines):
    try:
        raise ValueError("e" * 30_000 + " in the end")
    except ValueError:
        LOGGER.exception("m" * 50_000)
    said = lines()
    size = sum(len(json.dumps(line) if isinstance(line, dict) else line) for line in said)
    assert size < 2 * MOST_CHARACTERS + 500
    text = json.dumps(said, ensure_ascii=False)
    assert re.search(r"m… \(418\d\d more\)", text)
    assert "Traceback" in text
    assert "in the end" in text


@pytest.mark.parametrize("sent", [b"abc", b"4f0c2b9e-17aa:5d31/x+y=", b"x" * 128])
def test_a_request_id_that_is_well_formed_is_kept(sent: bytes):
    assert request_id_of(sent) == sent.decode()


@pytest.mark.parametrize("sent", [None, b"", b"x" * 129, b"a b", b"a\nb", b"\xff", b"a%0a", b"<x>", b'"'])
def test_any_other_one_is_replaced(sent: bytes | None):
    made = request_id_of(sent)
    assert len(made) == 16
    assert made != request_id_of(sent)
