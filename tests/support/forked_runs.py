"""Runs the tests in several processes: `--processes 8` forks eight when all tests are collected.

Each process of pytest-xdist imports and collects everything anew, and passes each report on through several layers. In
a run of all tests, that takes a tenth of the CPU time. As with `--dist loadfile`, the tests of a file share a process.

The process that was started runs no test. It gives each child a file, and the next one when the child has finished it.
If a child dies, the test that it ran fails, and a new child runs the rest of the file.
"""

import atexit
import os
import random
import sys
import traceback
from collections import deque
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Literal, NoReturn

import pytest

STATUS_OF_A_BUG: Final = 3  # pytest's own for an internal error
ENDED: Final = 0  # in place of a message: the child has closed its pipe


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processes", type=int, default=1, help="fork so many processes that run the tests")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests in children. Without the option, or when a file cannot be collected, leave it to pytest."""
    config = session.config
    if config.getoption("processes") < 2 or config.getoption("collectonly") or session.testsfailed:
        return None
    if config.getoption("cov_source", None) or config.getoption("numprocesses", None):
        raise pytest.UsageError("--processes goes neither with --cov nor with -n, which go with each other")
    Children(session).run(config.getoption("processes"))
    return True


class Child:
    """What the parent knows about a child: its pid, and the tests that it was given and has not yet run."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.left: deque[int] = deque()
        self.latest: int | None = None


class Children:
    """The parent's side. A test is named by its place in `session.items`."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._hook = session.config.hook
        self._children: dict[Connection, Child] = {}
        files: dict[object, list[int]] = {}
        for place, item in enumerate(session.items):
            files.setdefault(item.path, []).append(place)
        self._files = deque(files.values())

    def run(self, count: int) -> None:
        """Run all tests; as many as `-x` and `--maxfail` allow."""
        terminal: Any = self._session.config.pluginmanager.get_plugin("terminalreporter")
        terminal.showfspath = False  # reports of several files come in turns
        try:
            for _ in range(min(count, len(self._files))):
                self._start()
            while self._children:
                for pipe in wait(list(self._children)):
                    assert isinstance(pipe, Connection)
                    self._hear(pipe)
                    if self._session.shouldfail:
                        raise self._session.Failed(self._session.shouldfail)
        finally:
            self._end()

    def _start(self) -> None:
        self._session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined] # the children share it
        ours, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            for pipe in (ours, *self._children):
                pipe.close()
            live(self._session, theirs)
        theirs.close()
        self._children[ours] = Child(pid)

    def _hear(self, pipe: Connection) -> None:
        child = self._children[pipe]
        message: Any = ENDED
        with suppress(EOFError, ConnectionResetError):
            message = pipe.recv()
        if message == ENDED:
            self._bury(pipe)
        elif message is None:
            child.left.extend(self._files.popleft() if self._files else ())
            with suppress(BrokenPipeError):  # it has just died, which the next message shows
                pipe.send(list(child.left))
        elif isinstance(message, str):
            self._fail(child.latest, "teardown", message)
        else:
            child.latest = child.left.popleft()
            for data in message:
                report = self._hook.pytest_report_from_serializable(config=self._session.config, data=data)
                self._hook.pytest_runtest_logreport(report=report)
            self._finish(child.latest)

    def _bury(self, pipe: Connection) -> None:
        child = self._children.pop(pipe)
        pipe.close()
        status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        if child.left or status != 0:
            place = child.left.popleft() if child.left else child.latest
            self._fail(place, "call", f"the process that ran this test ended with exit status {status}")
        if child.left:
            self._files.appendleft(list(child.left))
        if self._files:
            self._start()

    def _fail(self, place: int | None, when: Literal["call", "teardown"], text: str) -> None:
        if place is None:
            raise RuntimeError(f"before a child ran a test: {text}")
        item = self._session.items[place]
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", text, when)
        self._hook.pytest_runtest_logreport(report=report)
        self._finish(place)

    def _finish(self, place: int) -> None:
        item = self._session.items[place]
        self._hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _end(self) -> None:
        """Let children that still run a test end after it."""
        for pipe in self._children:
            pipe.close()
        for child in self._children.values():
            os.waitpid(child.pid, 0)


class Reporter:
    """Takes the place of a child's `terminalreporter`. It keeps the reports of a test until they are sent."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._tw = type(config.get_terminal_writer())(sys.stderr)  # pytest-timeout writes here where the threads are
        self.reports: list[object] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(self._config.hook.pytest_report_to_serializable(config=self._config, report=report))


def live(session: pytest.Session, pipe: Connection) -> NoReturn:
    """The whole life of a child. What the parent was to do at its exit is none of its business."""
    status = STATUS_OF_A_BUG
    try:
        atexit._clear()
        reporter = settle_in(session.config)
        try:
            run_files(session, pipe, reporter)
        finally:
            end_fixtures(session, pipe)
        status = 0
    except (ConnectionError, EOFError, KeyboardInterrupt):
        status = 0  # the parent wants no more
    except BaseException:  # pytest would show it as an internal error
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def settle_in(config: pytest.Config) -> Reporter:
    """Give the child what it must not share with its siblings."""
    random.seed()
    folders = config._tmp_path_factory  # type: ignore[attr-defined]
    folders._basetemp = folders.getbasetemp() / f"p{os.getpid()}"
    folders._basetemp.mkdir(mode=0o700)
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    capture.stop_global_capturing()  # its files have one position for all processes
    capture.start_global_capturing()
    capture.suspend_global_capture()
    reporter = Reporter(config)
    config.pluginmanager.unregister(name="terminalreporter")
    config.pluginmanager.register(reporter, "terminalreporter")
    return reporter


def run_files(session: pytest.Session, pipe: Connection, reporter: Reporter) -> None:
    """Run the tests of one file after the other. In between, the fixtures of the whole session stay."""
    while True:
        pipe.send(None)
        places = pipe.recv()
        if not places:
            return
        following: list[pytest.Item | pytest.Session] = [session.items[place] for place in places[1:]]
        for place, nextitem in zip(places, [*following, session], strict=True):
            session.config.hook.pytest_runtest_protocol(item=session.items[place], nextitem=nextitem)
            pipe.send(reporter.reports)
            reporter.reports.clear()


def end_fixtures(session: pytest.Session, pipe: Connection) -> None:
    """End the fixtures of the session. No test is there that could report what breaks."""
    try:
        session._setupstate.teardown_exact(None)
    except BaseException:
        pipe.send(traceback.format_exc())
