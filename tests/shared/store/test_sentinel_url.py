"""URLs that name Sentinels."""

from typing import Any

import pytest

from turnwire.shared.errors import SettingsError
from turnwire.shared.store.connect import connect, connect_listener
from turnwire.shared.store.sentinel import connection_to
from turnwire.shared.store.sentinel_url import SentinelUrl


def test_it_names_hosts_and_a_service():
    read = SentinelUrl.read("redis+sentinel://a:1,b,[::1]:3/main")
    assert read is not None
    assert (read.service, read.hosts) == ("main", (("a", 1), ("b", 26379), ("::1", 3)))
    assert (read.plain, read.username, read.password) == ("redis:///0", None, None)


def test_user_database_and_options_are_those_of_redis():
    read = SentinelUrl.read("rediss+sentinel://me:p%40ss@a:1/main/4?ssl_ca_certs=%2Fca.pem&sentinel_password=x%26y")
    assert read is not None
    assert read.plain == "rediss://me:p%40ss@/4?ssl_ca_certs=%2Fca.pem"
    assert (read.username, read.password) == (None, "x&y")


@pytest.mark.parametrize("url", ["redis://h/0", "rediss://h/0", "unix:///run/redis.sock"])
def test_the_url_of_a_server_names_no_sentinels(url: str):
    assert SentinelUrl.read(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a:1", "redis+sentinel://a:1/", "redis+sentinel:///main", "redis+sentinel://a:x/main",
        "redis+sentinel://a:1,/main", "redis+sentinel://a:1/main/x", "redis+sentinel://a:1/main?colour=red",
        "unix+sentinel://a:1/main",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_without_its_secrets(url: str):
    with pytest.raises(SettingsError, match="not a Redis URL"):
        connect(url, connections=1)


def test_both_kinds_of_clients_get_what_the_url_says():
    url = "redis+sentinel://me:secret@a:1,b:2/main/4"
    for pool in (connect(url, connections=1).connection_pool, connect_listener(url).connection_pool):
        options = pool.connection_kwargs
        assert (options["username"], options["password"], options["db"]) == ("me", "secret", 4)
        assert options["sentinel_url"].hosts == (("a", 1), ("b", 2))


@pytest.mark.parametrize(("option", "checked"), [("", True), ("&ssl_check_hostname=false", False)])
def test_sentinels_are_asked_with_tls_and_with_their_own_password(option: str, checked: bool):
    url = SentinelUrl.read(f"rediss+sentinel://me:secret@a:1/main?sentinel_username=s&sentinel_password=p{option}")
    assert url is not None
    connection: Any = connection_to(url, ("a", 1))
    assert (connection.host, connection.port, connection.username, connection.password) == ("a", 1, "s", "p")
    assert connection.check_hostname is checked


def test_a_plain_url_asks_sentinels_without_a_password():
    url = SentinelUrl.read("redis+sentinel://me:secret@a:1/main")
    assert url is not None
    connection: Any = connection_to(url, ("a", 1))
    assert (connection.username, connection.password) == (None, None)
