"""What a line of the log hides, and what it does not."""

import logging
import tomllib
from pathlib import Path

import pytest

from tests.support.codec_keys import write_codec_keys
from turnwire.shared import logs
from turnwire.shared.aes_codec import AesGcmCodec
from turnwire.shared.logs import Scrubber, hide, log_to_stderr, without_secrets
from turnwire.shared.settings import Settings
from turnwire.shared.shared_secrets import SharedSecrets

HIDDEN = [
    ("redis://{}@10.0.0.5:6379/0", "user:opensesame"),
    ("redis://{}@10.0.0.5:6379/0", ":opensesame"),
    ("password={} host=db", "hunter2"),
    ("{'password': '{}', 'host': 'db'}", "hunter2"),
    ('{"api_key": "{}"}', "0123456789"),
    ("OPENAI_API_KEY={}", "abcdefgh"),
    ("client_secret: {}, retry", "s3cr3t"),
    ("Authorization: Bearer {}", "abc.def-ghi_jkl"),
    ("Incorrect API key provided: {}.", "sk-proj-0123456789abcdef"),
    ("Incorrect API key provided: {}", "sk-ab****************************wxyz"),
    ("KeyError: '{}'", "AKIAIOSFODNN7EXAMPLE"),
    ("a client sent {}", "tw_Gbz0yla8nfKWcG58lTXSih018dtwg6OraUbpwKYQnwU"),
    ("POST https://model.example/v1?key={}&alt=sse", "0123456789"),
    ("token {}", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
]
SHOWN = [
    "chat:demo:0: the turn ended with error producer_error: the product failed (ValueError)",
    "http://model.example:8000/v1/chat/completions answered 401",
    "the tokens of chat:demo:0: 12 in, 34 out",
    "step 3 ('ask the secretary') failed: TimeoutError",
    "the file /srv/app/settings.toml has no line 7",
]


@pytest.mark.parametrize(("text", "secret"), HIDDEN)
def test_a_secret_is_hidden_and_its_surroundings_are_not(text: str, secret: str):
    line = Scrubber("%(message)s").scrubbed(text.replace("{}", secret))
    assert secret not in line
    assert line == text.replace("{}", "***")


@pytest.mark.parametrize("text", SHOWN)
def test_an_ordinary_line_stays_as_it_is(text: str):
    assert Scrubber("%(message)s").scrubbed(text) == text


def test_the_secrets_of_the_settings_are_hidden_in_tracebacks_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    log_to_stderr(Settings(llm_api_key="plain words", redis_url="redis://:p%40ss-word@h/0"))
    logger = logging.getLogger("turnwire.tests.logs")
    try:
        raise KeyError("plain words and p@ss-word")
    except KeyError:
        logger.exception("the key plain words failed")
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "KeyError: '*** and ***'" in shown
    assert "the key *** failed" in shown


def test_httpx_does_not_log_the_urls_of_requests(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging.getLogger("httpx"), "level", logging.NOTSET)
    log_to_stderr(Settings(log_level="debug", llm_base_url="http://h/v1?key=plain-words"))
    logging.getLogger("httpx").info("HTTP Request: POST http://h/v1")
    logging.getLogger("turnwire.tests.logs").info("plain-words")
    assert capsys.readouterr().err.endswith("INFO turnwire.tests.logs: ***\n")


def test_a_secret_that_is_read_later_is_hidden_from_then_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logs, "_read_later", set())
    scrubber = Scrubber("%(message)s")
    hide("open sesame")
    hide("cat")
    assert scrubber.scrubbed("open sesame, said the cat") == "***, said the cat"


def test_the_secrets_of_files_are_hidden(tmp_path: Path):
    tokens, codec = tmp_path / "tokens", tmp_path / "codec.toml"
    tokens.write_text("first plain secret of forty characters here\n".replace(" ", "-"))
    write_codec_keys(codec, acme=["k1"])
    SharedSecrets("TURNWIRE_TOKEN_SECRET", None, str(tokens))
    AesGcmCodec(str(codec))
    [key] = tomllib.loads(codec.read_text())["tenant"]["acme"]["keys"].values()
    text = Scrubber("%(message)s").scrubbed(f"{tokens.read_text().strip()} and {key}")
    assert text == "*** and ***"


def test_a_process_that_cannot_start_hides_its_secrets():
    environ = {"TURNWIRE_TOKEN_SECRET": "one-two three-four", "TURNWIRE_LLM_API_KEY": "five six"}
    shown = without_secrets("one-two, three-four, five six", environ)
    assert shown == "***, ***, ***"
