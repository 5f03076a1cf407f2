"""Settings: read once, typed, refused by name; secrets are never shown."""

import typing

import msgspec
import pytest
from redis.connection import parse_url

from turnwire.shared.errors import SettingsError
from turnwire.shared.settings import PREFIX, Settings

SECRETS = {
    "TURNWIRE_LLM_API_KEY": "sk-very-secret",
    "TURNWIRE_REDIS_URL": "redis://user:hunter2@redis.example:6379/0",
    "TURNWIRE_QUEUE_REDIS_URL": "rediss://:swordfish@queue.example:6380/1",
}

BAD = [
    ("LEASE_MS", "abc"), ("LEASE_MS", "99"), ("LEASE_MS", "-5000"), ("LEASE_MS", "1.5"), ("MAX_JOBS", "0"),
    ("MAX_ATTEMPTS", "0"), ("TURN_TIMEOUT_S", "0"), ("TURN_TIMEOUT_S", "soon"), ("DRAIN_S", "-1"), ("PORT", "65536"),
    ("PORT", "http"), ("LOG_LEVEL", "loud"), ("LLM_JITTER", "1.5"), ("RETENTION_S", "0"), ("REDIS_CONNECTIONS", "0"),
    ("REDIS_TIMEOUT_S", "0"), ("POLL_S", "0"), ("MAX_BODY_BYTES", "1MB"), ("MAX_QUEUED", "-1"), ("HISTORY_TURNS", "x"),
    ("DEPLOYMENT", "a:b"), ("DEPLOYMENT", "a b"), ("DEPLOYMENT", "x" * 65),
]  # fmt: skip


def test_an_empty_environment_gives_the_defaults():
    assert Settings.from_env({}) == Settings()
    assert Settings().lease_ms == 5000
    assert Settings().queue_url == Settings().redis_url


def test_each_variable_sets_its_field():
    environ = {"TURNWIRE_LEASE_MS": "1500", "TURNWIRE_TURN_TIMEOUT_S": "12.5", "TURNWIRE_HOOKS": "a:b", "HOME": "/x"}
    settings = Settings.from_env(environ)
    assert (settings.lease_ms, settings.turn_timeout_s, settings.hooks) == (1500, 12.5, "a:b")


def test_an_empty_value_counts_as_not_set():
    assert Settings.from_env({"TURNWIRE_LEASE_MS": "", "PORT": ""}) == Settings()


def test_a_text_that_looks_like_a_number_stays_text():
    assert Settings.from_env({"TURNWIRE_LLM_MODEL": "7", "TURNWIRE_LLM_API_KEY": "123"}).llm_model == "7"


def test_platforms_set_the_port_and_our_own_name_wins():
    assert Settings.from_env({"PORT": "9000"}).port == 9000
    assert Settings.from_env({"PORT": "9000", "TURNWIRE_PORT": "9001"}).port == 9001


def test_the_queue_may_live_elsewhere():
    assert Settings.from_env({"TURNWIRE_QUEUE_REDIS_URL": "redis://q"}).queue_url == "redis://q"


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_is_refused_by_the_name_of_its_variable(name, text):
    with pytest.raises(SettingsError, match=rf"^{PREFIX}{name}: '{text}' does not fit"):
        Settings.from_env({PREFIX + name: text})


def test_a_bad_port_of_the_platform_is_refused_by_its_own_name():
    with pytest.raises(SettingsError, match=r"^PORT: "):
        Settings.from_env({"PORT": "eighty"})


@pytest.mark.parametrize("name", ["TURNWIRE_LEASE", "TURNWIRE_", "TURNWIRE_lease_ms", "TURNWIRE_RETENTION_MS"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(SettingsError, match=f"^{name}: no such setting"):
        Settings.from_env({name: "1"})


def test_a_lease_longer_than_a_turn_is_refused():
    with pytest.raises(SettingsError, match="TURNWIRE_LEASE_MS"):
        Settings.from_env({"TURNWIRE_LEASE_MS": "5000", "TURNWIRE_TURN_TIMEOUT_S": "5"})


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400"])
@pytest.mark.parametrize("name", ["TURN_TIMEOUT_S", "DRAIN_S", "POLL_S", "REDIS_TIMEOUT_S", "LLM_JITTER"])
def test_a_number_that_is_none_is_refused(name, text):
    with pytest.raises(SettingsError, match=f"^{PREFIX}{name}: "):
        Settings.from_env({PREFIX + name: text})


def test_every_bad_value_of_every_number_is_refused():
    for field, hint in typing.get_type_hints(Settings).items():
        if hint in (int, float):
            with pytest.raises(SettingsError, match=PREFIX + field.upper()):
                Settings.from_env({PREFIX + field.upper(): "x"})


def test_no_secret_is_shown_when_settings_are_printed():
    settings = Settings.from_env(SECRETS)
    for text in (repr(settings), str(settings), f"{settings}"):
        for secret in ("very-secret", "hunter2", "swordfish"):
            assert secret not in text
        assert "redis.example" in text
        assert "lease_ms=5000" in text


def test_a_copy_keeps_the_secrets():
    settings = msgspec.structs.replace(Settings.from_env(SECRETS), lease_ms=1000)
    assert settings.llm_api_key == "sk-very-secret"
    assert settings.redis_url == SECRETS["TURNWIRE_REDIS_URL"]


def test_what_is_not_set_is_shown_as_none():
    assert "llm_api_key=None" in repr(Settings())
    assert "queue_redis_url=None" in repr(Settings())


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:hun/ter@h/0",
        "redis://h/0?password=hunter&db=1",
        "unix://:hunter@/r.sock",
        "redis+sentinel://u:hunter@a,b/s?sentinel_password=hunter",
    ],
)
def test_a_password_is_hidden_wherever_it_stands_in_a_url(url):
    assert "hun" not in repr(Settings(redis_url=url))


def test_a_key_is_hidden_in_the_query_of_a_url():
    shown = repr(Settings(llm_base_url="https://h/v1?api-version=1&api-key=hunter&sig=hunter"))
    assert "hun" not in shown
    assert "api-version=1" in shown


@pytest.mark.parametrize(
    "url",
    [
        "redis://h", "redis://h/", "redis://h:6379/0", "redis://u:p@h:6379/3", "rediss://h/12?x=1", "redis://h/1?db=2",
        "redis://h?db=0", "unix:///run/redis.sock", "unix:///run/4?db=5", "unix://u:p@/run/redis.sock?db=6", "redis://h/x",
    ],
)  # fmt: skip
def test_the_deployment_is_named_after_the_database_that_the_client_takes(url: str):
    database = parse_url(url).get("db", 0)
    assert Settings(redis_url=url).deployment_name == (f"db{database}" if database else "")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis+sentinel://a:1,b:2/main", ""),
        ("redis+sentinel://u:p@a:1,b:2/main/0", ""),
        ("rediss+sentinel://a:1,b:2/7/3", "db3"),
        ("redis+sentinel://a/main?db=4", "db4"),
    ],
)
def test_the_database_stands_behind_the_service_in_a_url_of_sentinels(url: str, name: str):
    settings = Settings(redis_url=url)
    assert (settings.deployment_name, settings.names_sentinels) == (name, True)


def test_a_deployment_may_have_a_name_of_its_own():
    environ = {"TURNWIRE_REDIS_URL": "redis://h/3", "TURNWIRE_DEPLOYMENT": "green-2.x_y"}
    assert Settings.from_env(environ).deployment_name == "green-2.x_y"
    assert Settings(redis_url="redis://h/3", deployment="").deployment_name == ""
    with pytest.raises(SettingsError):
        Settings.from_env({"TURNWIRE_DEPLOYMENT": "a\n"})


@pytest.mark.parametrize("path", ["chat", "/", "/chat/", "//evil.example", "/a b", "/a/../b?c"])
def test_a_root_path_begins_with_a_slash_and_does_not_end_with_one(path: str):
    with pytest.raises(SettingsError, match="TURNWIRE_ROOT_PATH"):
        Settings.from_env({"TURNWIRE_ROOT_PATH": path})
    assert Settings.from_env({"TURNWIRE_ROOT_PATH": "/chat/v2"}).root_path == "/chat/v2"
