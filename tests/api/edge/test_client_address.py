"""Whose address counts as that of the client. What a client writes itself must never count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwire.api.edge.client_address import UNKNOWN, TrustedProxies
from turnwire.shared.errors import SettingsError

TRUSTED = "10.0.0.0/8, 127.0.0.1,2001:db8:1::/48"


def client(peer: str | None, *headers: tuple[str, str], trusted: str | None = TRUSTED) -> str:
    return TrustedProxies(trusted).client(peer, [(name.encode(), value.encode()) for name, value in headers])


def x_forwarded_for(value: str) -> tuple[str, str]:
    return ("x-forwarded-for", value)


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ([], "10.0.0.1"),  # the proxy itself asks
        ([x_forwarded_for("203.0.113.9")], "203.0.113.9"),
        ([x_forwarded_for("6.6.6.6, 203.0.113.9")], "203.0.113.9"),  # the client wrote the first
        ([x_forwarded_for("6.6.6.6, 203.0.113.9, 10.2.3.4")], "203.0.113.9"),
        ([x_forwarded_for("6.6.6.6"), x_forwarded_for("203.0.113.9")], "203.0.113.9"),
        ([x_forwarded_for("10.9.9.9, 10.2.3.4")], "10.9.9.9"),  # all of them are proxies
        ([x_forwarded_for("203.0.113.9:4711")], "203.0.113.9"),
        ([x_forwarded_for("2001:db8:2::7")], "2001:db8:2::7"),
        ([x_forwarded_for("203.0.113.9, 2001:db8:1::7")], "203.0.113.9"),
        ([x_forwarded_for("::ffff:203.0.113.9")], "203.0.113.9"),
        ([x_forwarded_for("203.0.113.9, ::ffff:10.0.0.7")], "203.0.113.9"),
        ([x_forwarded_for("203.0.113.9, nonsense")], UNKNOWN),
        ([x_forwarded_for("")], UNKNOWN),
        ([("forwarded", 'for="[2001:db8:2::7]:80";proto=https, for=10.0.0.3')], "2001:db8:2::7"),
        ([("forwarded", "proto=https;For=203.0.113.9")], "203.0.113.9"),
        ([("forwarded", "for=6.6.6.6, for=_hidden")], UNKNOWN),
        ([("forwarded", "proto=https")], UNKNOWN),
        ([("forwarded", "for=6.6.6.6"), x_forwarded_for("203.0.113.9")], UNKNOWN),  # one of them is the client's
    ],
)
def test_a_trusted_proxy_names_the_client(headers: list[tuple[str, str]], address: str):
    assert client("10.0.0.1", *headers) == address


def test_nobody_else_names_the_client():
    lie = x_forwarded_for("203.0.113.9")
    assert client("198.51.100.1", lie) == "198.51.100.1"
    assert client("10.0.0.1", lie, trusted=None) == "10.0.0.1"
    assert client(None, lie) == UNKNOWN
    assert client(None, lie, trusted="unix") == "203.0.113.9"


@given(written=st.lists(st.ip_addresses().map(str), max_size=4), real=st.ip_addresses(v=4, network="203.0.113.0/24"))
def test_what_a_client_writes_never_counts(written: list[str], real: object):
    assert client("10.0.0.1", x_forwarded_for(", ".join([*written, str(real)]))) == str(real)


@pytest.mark.parametrize("setting", ["nonsense", "10.0.0.1/8", "10.0.0.0/33", "*", "10.0.0.1;10.0.0.2"])
def test_a_setting_that_names_no_network_is_refused(setting: str):
    with pytest.raises(SettingsError, match="TURNWIRE_TRUSTED_PROXIES"):
        TrustedProxies(setting)
