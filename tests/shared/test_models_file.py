"""The file of models: what it may say, how it refuses what does not fit, and who may ask what."""

import logging
from pathlib import Path

import pytest

from tests.support.clock import Clock
from turnwire.shared.errors import SettingsError
from turnwire.shared.listed_model import SecretSource
from turnwire.shared.models_file import ModelsFile, parse_models_file, watch_models_file
from turnwire.shared.watched_file import LOOK_S

SMALL = '[models.small]\nurl = "https://models.example.com/v1"\n'
LARGE = '[models.large]\nurl = "https://models.example.com/v1"\n'
PRICED = 'currency = "EUR"\nversion = "2026-01"\n' + SMALL + "[models.small.prices]\n"


def test_a_table_needs_nothing_but_its_url():
    file = parse_models_file(SMALL)
    model = file.models["small"]
    assert (file.default, model.name, model.parameters, model.stream_options) == ("small", None, {}, True)
    assert model.source_for("anybody") == SecretSource()


def test_everything_that_a_table_may_say():
    file = parse_models_file(
        """
        default = "big/model"
        currency = "USD"
        version = "2026-11"

        [models.small]
        url = "http://127.0.0.1:8080/v1"

        [models."big/model"]
        url = "https://models.example.com/openai?api-version=7"
        name = "provider/big"
        key_env = "BIG_KEY"
        key_header = "api-key"
        system = "You sell shoes."
        parameters = { temperature = 0.2, stop = ["\\n"], response_format = { type = "json_object" } }
        body = { provider = { sort = "price" } }
        headers = { X-Title = "Shop" }
        stream_options = false
        think = "reasoning"
        fallbacks = ["small"]
        tenants = ["acme", "other"]
        context_tokens = 128_000
        max_attempts = 3
        request_timeout_ms = 1000
        idle_timeout_ms = 0

        [models."big/model".prices]
        input_per_million = 1
        output_per_million = 2.5
        cached_input_per_million = 0.1
        reasoning_per_million = 3

        [models."big/model".tenant_keys.acme]
        key_file = "/run/secrets/acme"
        """
    )
    model = file.models["big/model"]
    assert (file.default, file.currency, file.version) == ("big/model", "USD", "2026-11")
    assert model.source_for("acme") == SecretSource(key_file="/run/secrets/acme")
    assert model.source_for("other") == SecretSource(key_env="BIG_KEY")
    assert model.parameters["stop"] == ["\n"]
    assert model.prices is not None
    assert model.prices.output_per_million == 2.5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("models = [", "it is not TOML"),
        ("", "required field `models`"),
        ("[models]", "models: there must be at least one table"),
        (SMALL + "[other]", "unknown field `other`"),
        ("models = 1", "models: Expected `object`"),
        ("[models]\nsmall = 1", r"\[models.small\]: Expected `object`"),
        ("[models.small]", r"\[models.small\]: .*required field `url`"),
        (SMALL + 'ulr = "x"', r"\[models.small\]: .*unknown field `ulr`"),
        (SMALL + 'context_tokens = "many"', r"\[models.small\]: context_tokens: Expected `int`"),
        (SMALL + "context_tokens = 0", r"\[models.small\]: context_tokens: Expected `int` >= 1"),
        (SMALL + 'think = "loud"', r"\[models.small\]: think: Invalid enum value"),
        (SMALL + 'key_env = "two words"', r"\[models.small\]: key_env: "),
        (SMALL + 'key_env = "A"\nkey_file = "b"', r"\[models.small\]: key_file: set only one"),
        (SMALL + "[models.small.tenant_keys.acme]", r"\[models.small\]: tenant_keys.acme: set one of"),
        (SMALL + 'tenants = ["b"]\ntenant_keys = { acme = { key_env = "A" } }', "tenant_keys.acme: this tenant is not"),
        (SMALL + 'tenants = ["a/b"]', r"\[models.small\]: tenants"),
        (SMALL + 'parameters = { model = "x" }', "parameters.model: Turnwire itself"),
        (SMALL + "body = { stream = false }", "body.stream: Turnwire itself"),
        (SMALL + "parameters = { temperature = nan }", "parameters.temperature: JSON has no such value"),
        (SMALL + "body = { a = [{ b = 2026-01-01 }] }", "body.a: JSON has no such value"),
        (SMALL + "body = { seed = 99999999999999999999 }", "body.seed: JSON has no such value"),
        (SMALL + 'headers = { Content-Type = "x" }', "headers.Content-Type: Turnwire itself"),
        (SMALL + 'headers = { "a b" = "x" }', "headers.a b: this is not the name of a header"),
        (SMALL + 'headers = { A = "\\n" }', "headers.A: it has characters"),
        (SMALL + 'headers = { A = "ü" }', "headers.A: it has characters"),
        (SMALL + 'headers = { A = "1", a = "2" }', "headers: a header is there twice"),
        (SMALL + 'headers = { Authorization = "x" }', "headers.Authorization: secrets do not belong"),
        (SMALL + 'key_header = "Host"', "key_header: Turnwire itself"),
        (SMALL + 'fallbacks = ["large"]', r"\[models.small\]: fallbacks: each must be another table .*'large'"),
        (SMALL + 'fallbacks = ["small"]', "fallbacks: each must be another table"),
        (LARGE + SMALL + 'fallbacks = ["large", "large"]', "fallbacks: each must be another table"),
        ('default = "large"\n' + SMALL, r"default: there is no table \[models.large\]"),
        ('[models."a\\nb"]\nurl = "http://h"', r'\[models."a\\nb"\]: a name must have'),
        ('[models.""]\nurl = "http://h"', "a name must have"),
        (PRICED, "prices: .*required field `input_per_million`"),
        (PRICED + "input_per_million = -1\noutput_per_million = 1", "prices.input_per_million: Expected `float` >= 0"),
        (PRICED + "input_per_million = 1e-10\noutput_per_million = 1", "prices.input_per_million: at most 9 digits"),
        (PRICED + "input_per_million = nan\noutput_per_million = 1", "prices.input_per_million"),
        (SMALL + "prices = { input_per_million = 1, output_per_million = 1 }", "currency: it must be set, because"),
        ('currency = "usd"\n' + SMALL, "currency: Expected"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_its_table_and_key(text: str, reason: str):
    with pytest.raises(SettingsError, match=rf"^TURNWIRE_MODELS_FILE: .*{reason}"):
        parse_models_file(text)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://h/v1", "begin with http"),
        ("https:///v1", "begin with http"),
        ("models.example.com", "begin with http"),
        ("https://h h/v1", "begin with http"),
        ("https://h:port/v1", "not a URL"),
        ("https://[::1/v1", "not a URL"),
        ("https://user:s3cret@h/v1", "must not hold a user"),
        ("https://h/v1#a", "fragment"),
    ],
)
def test_a_url_is_checked_when_the_file_is_read(url: str, reason: str):
    with pytest.raises(SettingsError, match=rf"\[models.small\]: url: .*{reason}") as refused:
        parse_models_file(f'[models.small]\nurl = "{url}"')
    assert "s3cret" not in str(refused.value)


def two_tenants() -> ModelsFile:
    return parse_models_file(SMALL + 'fallbacks = ["large", "own"]\n' + LARGE + 'tenants = ["acme"]\n'
                             '[models.own]\nurl = "http://h"\ntenants = ["other"]\n')  # fmt: skip


def test_a_tenant_may_ask_what_is_listed_for_it_and_the_default_if_it_names_none():
    file = two_tenants()
    assert (file.askable("acme"), file.askable("other")) == (["small", "large"], ["small", "own"])
    assert (file.asked(None, "acme"), file.asked("large", "acme")) == ("small", "large")
    assert (file.asked("large", "other"), file.asked("no such", "acme")) == (None, None)


def test_the_default_is_refused_to_a_tenant_that_may_not_ask_it():
    assert parse_models_file(SMALL + 'tenants = ["acme"]').asked(None, "other") is None


def test_a_fallback_that_a_tenant_may_not_ask_is_left_out_for_it():
    file = two_tenants()
    assert (file.fallbacks("small", "acme"), file.fallbacks("small", "other")) == (["large"], ["own"])


def test_a_watched_file_is_read_again_and_a_broken_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    clock, path = Clock(), tmp_path / "models.toml"
    path.write_text(SMALL, encoding="utf-8")
    caplog.set_level(logging.INFO)
    watched = watch_models_file(str(path), clock=clock)
    for text, names in ((SMALL + LARGE, ["small", "large"]), ("[models", ["small", "large"]), (LARGE, ["large"])):
        path.write_text(text, encoding="utf-8")
        clock.now_s += LOOK_S
        assert watched.content.askable("acme") == names
    assert f"TURNWIRE_MODELS_FILE: {path}: it is not TOML" in caplog.text


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"TURNWIRE_MODELS_FILE: .*models.toml: the file cannot be read"):
        watch_models_file(str(tmp_path / "models.toml"))
