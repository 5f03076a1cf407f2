"""Which hosts may be asked, and which pages may ask."""

import pytest
from starlette.datastructures import Headers

from turnwire.api.edge.cors import Origins
from turnwire.api.edge.problems import ForeignPage, UnknownHost
from turnwire.api.edge.site import allowed_hosts, refuse_foreign_page

NO_OTHERS = Origins()
LOOPBACK = ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]", "localhost."]
FOREIGN = ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::2]:8000"]


def is_allowed(host: str, bound_to: str, setting: str | None, path: str = "/v1/usage") -> bool:
    try:
        allowed_hosts(bound_to, setting).check(path, [(b"accept", b"x"), (b"host", host.encode())])
    except UnknownHost:
        return False
    return True


@pytest.mark.parametrize("bound_to", ["127.0.0.1", "localhost", "::1"])
def test_a_server_of_this_machine_is_asked_by_the_names_of_this_machine(bound_to: str):
    assert all(is_allowed(host, bound_to, None) for host in LOOPBACK)
    assert not any(is_allowed(host, bound_to, None) for host in FOREIGN)


def test_a_server_on_another_loopback_address_may_be_asked_by_it():
    assert is_allowed("127.0.0.2:8000", "127.0.0.2", None)
    assert not is_allowed("127.0.0.2:8000", "127.0.0.1", None)


@pytest.mark.parametrize("bound_to", ["0.0.0.0", "::", "10.0.0.1"])
def test_a_server_of_a_network_may_be_asked_by_any_name(bound_to: str):
    assert all(is_allowed(host, bound_to, None) for host in LOOPBACK + FOREIGN)


@pytest.mark.parametrize("bound_to", ["0.0.0.0", "127.0.0.1"])
def test_the_setting_replaces_the_default(bound_to: str):
    setting = "chat.example.com, *.intern.example"
    for host in ("chat.example.com", "CHAT.example.com:443", "a.intern.example", "a.b.intern.example:8000"):
        assert is_allowed(host, bound_to, setting), host
    for host in ("localhost", "example.com", "chat.example.com.evil", "intern.example", "xintern.example"):
        assert not is_allowed(host, bound_to, setting), host
    assert is_allowed("anything", bound_to, "*")


def test_a_probe_may_be_asked_by_any_name():
    for path in ("/healthz", "/readyz"):
        assert is_allowed("10.0.0.7:8000", "127.0.0.1", "chat.example.com", path)


def test_a_client_of_version_1_0_may_name_no_host():
    allowed_hosts("127.0.0.1", None).check("/v1/usage", [])


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),  # a program
        ({"sec-fetch-site": "same-origin", "origin": "https://chat.example", "host": "inside:8000"}, False),
        ({"sec-fetch-site": "none"}, False),  # the address bar
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),  # another port, or another name of the same owner
        ({"origin": "http://localhost:8000", "host": "localhost:8000"}, False),
        ({"origin": "http://localhost:3000", "host": "localhost:8000"}, True),
        ({"origin": "http://evil.example", "host": "localhost:8000"}, True),
        ({"origin": "null", "host": "localhost:8000"}, True),
    ],
)
def test_a_page_of_another_site_is_told_by_what_its_browser_says(headers: dict[str, str], refused: bool):
    if refused:
        with pytest.raises(ForeignPage):
            refuse_foreign_page(Headers(headers), NO_OTHERS)
    else:
        refuse_foreign_page(Headers(headers), NO_OTHERS)


def test_a_page_of_an_allowed_origin_is_not_foreign():
    headers = Headers({"sec-fetch-site": "cross-site", "origin": "https://app.example", "host": "api.example"})
    refuse_foreign_page(headers, Origins("https://app.example"))
    with pytest.raises(ForeignPage):
        refuse_foreign_page(headers, Origins("https://other.example"))
