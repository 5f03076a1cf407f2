"""A file that an operator changes is read by a thread, so that a slow disk holds up nobody."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from tests.support.clock import Clock
from tests.support.read_again import read_again
from turnwire.shared import watched_file
from turnwire.shared.errors import SettingsError
from turnwire.shared.watched_file import LOOK_S, WatchedFile


def parse(text: str) -> str:
    if text == "broken":
        raise SettingsError("NAME: it is broken")
    return f"{text} by {threading.current_thread() is threading.main_thread()}"


def change(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("old")
    return path


async def test_a_disk_that_hangs_holds_up_nobody(path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch):
    file = WatchedFile("NAME", str(path), parse, clock=clock)
    change(path, "new")
    read, answers = Path.read_text, threading.Event()

    def slow(this: Path, encoding: str | None = None) -> str:
        answers.wait(20)
        return read(this, encoding)

    monkeypatch.setattr(Path, "read_text", slow)
    for _ in range(3):  # one look at a time, however long it takes
        clock.now_s += LOOK_S
        assert file.content == "old by True"
        await asyncio.sleep(0)
    answers.set()
    await read_again(file)
    assert file.content == "new by False"


async def test_what_belongs_to_the_event_loop_is_parsed_there(path: Path, clock: Clock, caplog):
    file = WatchedFile("NAME", str(path), parse, clock=clock, parse_in_thread=False)
    for text, content in (("new", "new by True"), ("broken", "new by True"), ("newer", "newer by True")):
        change(path, text)
        clock.now_s += LOOK_S
        await read_again(file)
        assert file.content == content
    assert "NAME: it is broken; what was read before stays valid" in caplog.text


@pytest.mark.parametrize("in_thread", [True, False])
async def test_what_cannot_be_used_yet_is_tried_again_and_reported_once(path: Path, clock: Clock, caplog, in_thread):
    named = path.with_name("named")
    named.touch()

    def parse_both(text: str) -> str:
        if text == "new" and not named.exists():
            raise SettingsError("NAME: the file that it names is not there")
        return text

    file = WatchedFile("NAME", str(path), parse_both, clock=clock, parse_in_thread=in_thread)
    named.unlink()
    change(path, "new")
    for _ in range(3):
        clock.now_s += LOOK_S
        await read_again(file)
        assert file.content == "old"
    assert caplog.text.count("is not there; what was read before stays valid") == 1
    named.touch()
    clock.now_s += LOOK_S
    await read_again(file)
    assert file.content == "new"


def test_without_an_event_loop_it_is_read_at_once(path: Path, clock: Clock):
    file = WatchedFile("NAME", str(path), parse, clock=clock)
    path.write_text("new")
    clock.now_s += LOOK_S
    assert file.content == "new by True"


@pytest.mark.parametrize("half", ["", "ne"])
def test_a_file_that_is_still_being_written_is_not_read(path: Path, clock: Clock, monkeypatch, half: str):
    file = WatchedFile("NAME", str(path), parse, clock=clock)
    change(path, half)  # this is how `cp` begins
    with monkeypatch.context() as writing:
        writing.setattr(watched_file, "sleep", lambda _: change(path, "new"))
        clock.now_s += LOOK_S
        assert file.content == "old by True"
    clock.now_s += LOOK_S
    assert file.content == "new by True"


def test_a_file_is_read_again_although_its_size_and_its_time_are_the_old_ones(path: Path, clock: Clock):
    file = WatchedFile("NAME", str(path), parse, clock=clock)
    before = path.stat()
    change(path, "new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    clock.now_s += LOOK_S
    assert file.content == "new by True"
