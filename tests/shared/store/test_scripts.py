"""Replies, and their absence, become our errors in one place; what is no verdict of ours stays loud."""

import asyncio
import re
from importlib.resources import files

import pytest
from redis.exceptions import (
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from stack.redis_server import RedisServer
from tests.support.scraped import grows
from tests.support.turns import KEY
from turnwire.shared.errors import RateLimited, SettingsError, StoreUnavailable
from turnwire.shared.store import scripts
from turnwire.shared.store.connect import connect
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.scripts import REFUSALS, IndexMoved, LogBehind, Script, StepsBehind, source, typed

FOLDER = files("turnwire.shared.store") / "lua"
SCRIPTS = sorted(path.name.removesuffix(".lua") for path in FOLDER.iterdir() if path.name.endswith(".lua"))
PARTS = sorted(path.name.removesuffix(".lua") for path in (FOLDER / "parts").iterdir())


@pytest.mark.parametrize("code", sorted(REFUSALS.keys() - {"MOVED", "LOG_BEHIND", "RATE_LIMITED", "STEPS_BEHIND"}))
def test_a_refusal_becomes_its_error_with_its_reason(code):
    error = typed(ResponseError(f"{code} the reason"))
    assert type(error) is REFUSALS[code]
    assert str(error) == "the reason"


def test_a_moved_index_carries_the_new_one():
    error = typed(ResponseError("MOVED 12"))
    assert isinstance(error, IndexMoved)
    assert error.index == 12


def test_a_request_that_comes_too_soon_carries_when_it_may_come_and_whose_it_is():
    error = typed(ResponseError("RATE_LIMITED 1200 key"))
    assert isinstance(error, RateLimited)
    assert (error.retry_after_s, error.holder, error.burst) == (1.2, "key", 0)


def test_a_store_that_is_behind_says_how_far():
    log, steps = typed(ResponseError("LOG_BEHIND 12")), typed(ResponseError("STEPS_BEHIND 3"))
    assert isinstance(log, LogBehind)
    assert isinstance(steps, StepsBehind)
    assert (log.next_seq, steps.stands) == (12, 3)


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("Connection refused to secret-host:6379"),
        RedisTimeoutError("Timeout reading from secret-host"),
        TimeoutError(),
        ConnectionResetError("secret-host"),
        BusyLoadingError("Redis is loading the dataset in memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_answer_is_unavailable_and_names_no_host(error):
    found = typed(error)
    assert isinstance(found, StoreUnavailable)
    assert found.retryable
    assert "secret-host" not in str(found)


@pytest.mark.parametrize(
    "text",
    [
        "BUSY Redis is busy running a script.",
        "MASTERDOWN Link with MASTER is down",
        "CLUSTERDOWN The cluster is down",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "NOREPLICAS Not enough good replicas to write.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    ],
)
def test_a_server_that_cannot_write_now_is_unavailable(text):
    assert isinstance(typed(ResponseError(text)), StoreUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        ReadOnlyError("You can't write against a read only replica."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_or_read_only_server_is_unavailable_though_redis_py_drops_the_code(error):
    """redis-py turns some codes into a class and cuts the code off the message: no text is left to recognise."""
    assert isinstance(typed(error), StoreUnavailable)


@pytest.mark.parametrize("error", [ResponseError("ERR wrong number of arguments"), ValueError("x")])
def test_what_is_no_verdict_of_ours_stays_as_it_is(error):
    assert typed(error) is error


async def test_a_bug_in_a_script_is_loud(redis):
    await redis.rpush(KEY.lease, "not a string")
    with pytest.raises(ResponseError):
        await Script("free")(Courier(redis, 5), [KEY.record, KEY.lease], ["w", 1, 0, 0])
    await redis.delete(KEY.lease)


async def test_a_server_that_hangs_is_unavailable_after_the_timeout(tmp_path):
    with RedisServer(tmp_path) as server:
        client = connect(server.url, connections=2)
        await client.ping()
        server.pause()
        try:
            with grows("api", "turnwire_redis_failures_total"), pytest.raises(StoreUnavailable):
                await Script("free")(Courier(client, 0.1), [KEY.record, KEY.lease], ["w", 1, 0, 0])
            [first, second] = await Script("free").many(
                Courier(client, 0.1), [([KEY.record, KEY.lease], ["w", 1, 0, 0])] * 2
            )
            assert isinstance(first, StoreUnavailable)
            assert isinstance(second, StoreUnavailable)
        finally:
            server.resume()
        assert await Script("free")(Courier(client, 5), [KEY.record, KEY.lease], ["w", 1, 0, 0]) == 0
        await client.aclose(close_connection_pool=True)


async def test_a_server_that_is_not_there_is_unavailable(tmp_path):
    client = connect(f"unix://{tmp_path}/nobody.sock", connections=1)
    with pytest.raises(StoreUnavailable):
        await Script("free")(Courier(client, 0.3), [KEY.record, KEY.lease], ["w", 1, 0, 0])
    await client.aclose(close_connection_pool=True)


async def test_callers_wait_for_a_free_connection(redis_url):
    client = connect(redis_url, connections=1)
    try:
        assert await asyncio.gather(*(client.echo(str(n)) for n in range(20))) == [str(n).encode() for n in range(20)]
    finally:
        await client.aclose(close_connection_pool=True)


@pytest.mark.parametrize("url", ["", "http://x", "redis://127.0.0.1:port/0", "redis://x?y=1", "nonsense"])
def test_a_url_that_redis_cannot_use_is_refused_as_a_setting(url):
    with pytest.raises(SettingsError):
        connect(url, connections=1)


@pytest.mark.parametrize("url", ["redis://:hunter2@host:port/0", "redis://:hun/ter2@host:6379/0", "http://u:hunter2@x"])
def test_a_refused_redis_url_does_not_show_its_password(url):
    with pytest.raises(SettingsError) as refused:
        connect(url, connections=1)
    assert "hun" not in str(refused.value)


def test_a_script_is_put_together_from_its_parts():
    text = source("settle")
    own = text.index("-- Ends an attempt and its turn")
    assert text.index("local function now_ms") < text.index("local function add_events") < own


def test_a_script_gets_of_its_parts_what_it_needs_and_no_more():
    definition = re.compile(r"^local (?:function )?(\w+)", re.MULTILINE)
    for script in SCRIPTS:
        text = source(script)
        own_beginning, _, _ = (FOLDER / f"{script}.lua").read_text(encoding="utf-8").partition("\n")
        included = text[: text.index(own_beginning)]
        unused = [name for name in definition.findall(included) if len(re.findall(rf"\b{name}\b", text)) < 2]
        assert unused == [], script


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_calls_no_function_of_a_part_where_it_is_not_defined(name):
    """A block that has an `-- include:` line of its own defines what stands there for itself only."""
    in_parts = {name for part in PARTS for name, _ in scripts._definitions(part)}
    called = re.compile(rf"\b({'|'.join(in_parts)})\(")
    in_scope: list[tuple[int, str]] = []  # indentation and name of each function
    for line in scripts._COMMENT.sub("", source(name)).splitlines():
        indentation = len(line) - len(line.lstrip())
        if line:
            in_scope = [(depth, known) for depth, known in in_scope if depth <= indentation]
        if definition := re.match(r" *local function (\w+)", line):
            in_scope.append((indentation, definition[1]))
        missing = set(called.findall(line)) - {known for _, known in in_scope}
        assert not missing, line


def test_a_block_defines_what_it_needs_of_the_parts_that_it_names():
    text = source("finish")
    start = text.index("if held and held")
    block = text[start : text.index("\nend\n", start)]
    assert "\n    local function tenant_of(job_id)\n        local run_id" in block
    assert "push_hint" not in block
    assert text.count("local function tenant_of") == 1


def test_a_part_holds_nothing_but_definitions():
    """Whatever else stood in a part would be lost without a word."""
    for part in PARTS:
        text = scripts._COMMENT.sub("", (FOLDER / "parts" / f"{part}.lua").read_text(encoding="utf-8"))
        assert scripts._DEFINITION.sub("", text).split() == [], part


def test_a_script_without_parts_is_its_file():
    assert source("handover").count("local function now_ms") == 1
    assert source("free").startswith("-- Drops the lease ")
