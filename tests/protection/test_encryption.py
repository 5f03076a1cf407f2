"""With a codec, no content is in clear in Redis at any time: neither in a command that it gets, nor in a key."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from stack.cluster import Stack
from tests.conformance.recorder import Recorder
from tests.protection.conftest import Talk
from tests.protection.planted import Planted
from tests.protection.sessions import Sessions
from tests.support.codec_keys import write_codec_keys

# Scripts read these, or need them as names; docs/how-to/data-protection.md lists them.
CLEAR = {"user", "domain", "idempotency-key"}


@pytest.fixture
def env(env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    path = write_codec_keys(tmp_path / "codec.toml", default=["k1"])
    return env | {"TURNWIRE_CODEC": "aes-gcm", "TURNWIRE_CODEC_KEYS_FILE": str(path)}


@contextmanager
def watched(url: str) -> Iterator[list[str]]:
    """Every command that the server gets meanwhile."""
    seen: list[str] = []
    with redis.Redis.from_url(url) as client, client.monitor() as monitor:
        done = threading.Event()

        def watch() -> None:
            while not done.is_set():
                seen.append(str(monitor.next_command()["command"]))

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield seen
        finally:
            done.set()
            with redis.Redis.from_url(url) as other:
                other.ping()  # the last command, which lets the thread look at `done`
            thread.join()


def test_nothing_is_in_clear_at_any_time(
    stack: Stack, client: Any, talk: Talk, plant: Planted, recorder: Recorder
) -> None:
    assert stack.redis is not None
    sessions = Sessions(talk, plant)
    with watched(stack.redis.url) as seen:
        sessions.make()
        open_events = sessions.all[0].events(0)
        record = sessions.all[0].record(0)
    assert len(seen) > 100
    assert plant.found_in("".join(seen)) <= CLEAR
    assert set(plant.found_in_redis(client)) <= CLEAR
    assert plant.found_in("".join(seen)) == CLEAR  # or the search would find nothing
    # and clients see what they would see without a codec
    assert plant("delta") in str(open_events)
    assert plant("event") in str(open_events)
    assert record["message"] == plant("message")
    assert record["final_text"] == plant("final text")
    assert recorder.calls(sessions.all[0].run_id(0), "produce")[0]["message"] == plant("message")
