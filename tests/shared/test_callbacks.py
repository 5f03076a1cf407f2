"""Which URLs may be told of a turn, and which addresses a worker connects to."""

import pytest

from turnwire.shared.callbacks import CallbackHosts, is_public
from turnwire.shared.errors import InvalidInput, SettingsError
from turnwire.shared.settings import Settings

HOSTS = CallbackHosts(Settings(callback_hosts="hooks.example.com, *.example.org, api.example.net:8443, [2606:4700::1]"))


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/turns?a=b",
        "https://HOOKS.example.com",
        "https://hooks.example.com:443/",
        "https://a.example.org/x",
        "https://a.b.example.org/x",
        "https://api.example.net:8443/x",
        "https://[2606:4700::1]/x",
    ],
)
def test_a_url_of_an_allowed_host_may_be_told(url: str):
    assert HOSTS.check(url).scheme == "https"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://example.org/x", "this host"),
        ("https://evilexample.org/x", "this host"),
        ("https://a.example.org.evil.test/x", "this host"),
        ("https://hooks.example.com.evil.test", "this host"),
        ("https://hooks.example.com@evil.test/", "neither a user"),
        ("https://evil.test#@hooks.example.com/", "neither a user nor a fragment"),
        ("https://evil.test\\@hooks.example.com/", "not a URL"),
        ("https://hooks.example.com:8443/", "this host"),
        ("https://api.example.net/x", "this host"),
        ("https://hooks.example.com:99999/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("http://hooks.example.com/", "must begin with https://"),
        ("ftp://hooks.example.com/", "must begin with https://"),
        ("//hooks.example.com/", "must begin with https://"),
        ("https:/hooks.example.com/", "this host"),
        ("https://hooks.example.com/\n", "not a URL"),
        ("https://hooks.example.com/a b", "not a URL"),
        ("https://höoks.example.com/", "not a URL"),
        ("https://127.0.0.1/", "this host"),
    ],
)
def test_any_other_url_is_refused(url: str, reason: str):
    with pytest.raises(InvalidInput, match=f"callback: .*{reason}"):
        HOSTS.check(url)


def test_without_the_setting_there_are_no_callbacks():
    with pytest.raises(InvalidInput, match="makes no callbacks"):
        CallbackHosts(Settings()).check("https://hooks.example.com/")


def test_only_where_private_addresses_are_allowed_the_url_may_begin_with_http():
    hosts = CallbackHosts(Settings(callback_hosts="10.0.0.7:8080", callback_private=True))
    assert hosts.check("http://10.0.0.7:8080/x").port == 8080
    assert hosts.permits("10.0.0.7")
    assert not HOSTS.permits("10.0.0.7")


@pytest.mark.parametrize("entry", ["https://example.com", "*", "*.", "a*.example.com", "example.com/", "a b", "x:port"])
def test_an_entry_that_is_no_host_is_refused_at_the_start(entry: str):
    with pytest.raises(SettingsError, match="TURNWIRE_CALLBACK_HOSTS"):
        CallbackHosts(Settings(callback_hosts=f"example.com,{entry}"))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1",
        "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::",
        "::127.0.0.1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public(address: str):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_a_public_address(address: str):
    assert is_public(address)
