"""Which origins are allowed, and what their browsers are told."""

import pytest

from turnwire.api.edge.cors import Origins
from turnwire.api.edge.problems import ForeignPage
from turnwire.shared.errors import SettingsError
from turnwire.shared.settings import Settings

SETTING = "https://app.example.com, http://localhost:5173,https://*.preview.example.com, https://CASE.example:443"
ALLOWED = [
    "https://app.example.com", "http://localhost:5173", "https://a.preview.example.com",
    "https://a.b.preview.example.com", "https://case.example",
]  # fmt: skip
FOREIGN = [
    "", "null", "*", "http://app.example.com", "https://app.example.com:8443", "https://app.example.com.evil",
    "https://evilapp.example.com", "https://preview.example.com", "https://evilpreview.example.com",
    "http://a.preview.example.com", "https://a.preview.example.com:444", "https://a.preview.example.com.evil",
    "http://localhost", "http://localhost:51730", "https://APP.example.com",
]  # fmt: skip


def test_only_named_origins_are_allowed():
    origins = Origins(SETTING)
    assert [origin for origin in ALLOWED if not origins.allows(origin)] == []
    assert [origin for origin in FOREIGN if origins.allows(origin)] == []
    assert not any(Origins(None).allows(origin) for origin in ALLOWED + FOREIGN)


def test_an_allowed_origin_is_named_in_the_answer_and_a_foreign_one_is_not():
    origins = Origins(SETTING)
    for origin in ALLOWED:
        assert dict(origins.headers([(b"origin", origin.encode())]))[b"access-control-allow-origin"] == origin.encode()
    for origin in FOREIGN:
        names = {name for name, _ in origins.headers([(b"accept", b"x"), (b"origin", origin.encode())])}
        assert names == {b"vary", b"x-content-type-options"}
    assert (b"vary", b"Origin") in origins.headers([])  # a cache must not give this answer to a page


def test_no_answer_lets_a_browser_send_its_cookies():
    answers = [*Origins(SETTING).headers([(b"origin", ALLOWED[0].encode())])]
    assert not any(name == b"access-control-allow-credentials" or value == b"*" for name, value in answers)
    told = Origins(SETTING).preflight(ALLOWED[0])
    assert "access-control-allow-credentials" not in told
    assert "*" not in told.values()


def test_without_the_setting_nothing_is_said():
    assert {name for name, _ in Origins().headers([(b"origin", b"https://app.example.com")])} == {
        b"x-content-type-options"
    }


def test_a_page_of_a_foreign_origin_may_send_nothing():
    with pytest.raises(ForeignPage):
        Origins(SETTING).preflight("https://evil.example")


@pytest.mark.parametrize(
    "setting",
    ["*", "null", "app.example.com", "https://app.example.com/", "https://app.example.com/path", "http://*.example.com",
     "https://*", "https://a*.example.com", "https://app.example.com https://b.example", "ftp://x", "https://user@x"],
)  # fmt: skip
def test_a_setting_that_is_no_list_of_origins_is_refused(setting: str):
    with pytest.raises(SettingsError, match="TURNWIRE_CORS_ORIGINS"):
        Settings.from_env({"TURNWIRE_CORS_ORIGINS": setting})


def test_a_list_of_origins_is_taken():
    assert Settings.from_env({"TURNWIRE_CORS_ORIGINS": SETTING}).cors_origins == SETTING
    assert Settings.from_env({"TURNWIRE_CORS_ORIGINS": "http://[::1]:3000,"}).cors_origins
