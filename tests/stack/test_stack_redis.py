"""RedisServer starts, kills, restarts and pauses a real server."""

import socket
import threading
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from stack.process import ProcessError
from stack.redis_server import LONGEST_SOCKET_PATH, RedisServer


@pytest.mark.parametrize("port", [None, 0], ids=["unix socket", "tcp"])
def test_acknowledged_writes_survive_a_kill_with_an_append_only_file(tmp_path, port):
    with RedisServer(tmp_path, aof=True, port=port) as server:
        url = server.url
        with Redis.from_url(url) as redis:
            for number in range(100):
                redis.rpush("accepted", number)
        server.kill()
        server.restart()
        assert server.url == url
        with Redis.from_url(url) as redis:
            assert redis.llen("accepted") == 100
            assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_without_an_append_only_file_a_restart_forgets_all(tmp_path):
    with RedisServer(tmp_path) as server:
        with Redis.from_url(server.url) as redis:
            redis.set("key", "value")
        server.restart()
        with Redis.from_url(server.url) as redis:
            assert redis.get("key") is None


def test_a_paused_server_hangs_and_comes_back(tmp_path):
    with RedisServer(tmp_path) as server, Redis.from_url(server.url, socket_timeout=0.2) as redis:
        server.pause()
        with pytest.raises(RedisTimeoutError):
            redis.ping()
        server.resume()
        assert redis.ping()


def test_a_paused_server_can_be_stopped(tmp_path):
    server = RedisServer(tmp_path).start()
    server.pause()
    server.stop()
    assert not server.service.running


def test_stop_leaves_no_socket_behind_not_even_after_a_kill(tmp_path):
    server = RedisServer(tmp_path).start()
    path = Path(server.url.removeprefix("unix://"))
    assert path.is_socket()
    server.kill()
    server.stop()
    assert not path.exists()


def test_a_long_directory_gets_a_short_socket(tmp_path):
    server = RedisServer(tmp_path / ("long" * 30)).start()
    path = Path(server.url.removeprefix("unix://"))
    assert len(str(path)) < LONGEST_SOCKET_PATH
    server.stop()
    assert not path.parent.exists()


def test_a_port_that_is_taken_is_an_error_with_the_reason(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ProcessError, match="already in use"):
            RedisServer(tmp_path, port=other.getsockname()[1]).start()


def test_another_redis_on_the_port_is_not_taken_for_this_one(tmp_path):
    with RedisServer(tmp_path / "theirs", port=0) as theirs:
        port = int(theirs.url.rpartition(":")[2].removesuffix("/0"))
        with pytest.raises(ProcessError, match="already in use"):
            RedisServer(tmp_path / "ours", port=port).start()


def test_a_free_port_that_another_process_gets_first_is_replaced(tmp_path, monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        offers = [other.getsockname()[1]]
        free = __import__("stack.network").network.free_port
        monkeypatch.setattr("stack.redis_server.free_port", lambda: offers.pop() if offers else free())
        with RedisServer(tmp_path, port=0) as server, Redis.from_url(server.url) as redis:
            assert redis.ping()


def test_a_server_started_by_a_thread_outlives_the_thread(tmp_path):
    """The kernel kills a child when the thread that forked it ends, so such a server must not ask for that."""
    server = RedisServer(tmp_path)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    with Redis.from_url(server.url) as redis:
        assert redis.ping()
    server.stop()
