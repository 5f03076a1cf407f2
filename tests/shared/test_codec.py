"""The codec: what it encrypts, only its own tenant and turn can decrypt, as long as its key is there."""

from pathlib import Path

import pytest

from tests.support.codec_keys import write_codec_keys
from turnwire.shared.aes_codec import AesGcmCodec
from turnwire.shared.codec import ContentKeyError, codec_of
from turnwire.shared.errors import SettingsError
from turnwire.shared.settings import Settings

ACME = {"tenant": "acme", "run_id": "chat:acme~demo:0"}


class Reversing:
    """A codec of a product."""

    def encode(self, data: bytes, *, tenant: str, run_id: str) -> bytes:
        return data[::-1]

    def decode(self, data: bytes, *, tenant: str, run_id: str) -> bytes:
        return data[::-1]


OWN = Reversing()
NO_CODEC = object()


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def codec(tmp_path: Path, now: list[float]) -> AesGcmCodec:
    path = write_codec_keys(tmp_path / "codec.toml", acme=["new", "old"], other=["one"])
    return AesGcmCodec(str(path), clock=lambda: now[0])


def test_it_gives_back_what_it_encrypted(codec: AesGcmCodec):
    first, second = codec.encode(b"text", **ACME), codec.encode(b"text", **ACME)
    assert first != second
    assert b"text" not in first
    assert codec.decode(first, **ACME) == codec.decode(second, **ACME) == b"text"


@pytest.mark.parametrize("elsewhere", [{"tenant": "other"}, {"run_id": "chat:acme~demo:1"}, {"tenant": "third"}])
def test_nobody_else_can_read_it(codec: AesGcmCodec, elsewhere: dict[str, str]):
    with pytest.raises(ContentKeyError):
        codec.decode(codec.encode(b"text", **ACME), **(ACME | elsewhere))


def test_changed_data_is_refused(codec: AesGcmCodec):
    sealed = codec.encode(b"text", **ACME)
    for place in range(len(sealed)):
        with pytest.raises(ContentKeyError):
            codec.decode(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :], **ACME)
    for length in range(len(sealed)):
        with pytest.raises(ContentKeyError):
            codec.decode(sealed[:length], **ACME)


def test_keys_are_rotated_and_destroyed_without_a_restart(codec: AesGcmCodec, tmp_path: Path, now: list[float]):
    before = codec.encode(b"text", **ACME)
    write_codec_keys(tmp_path / "codec.toml", acme=["newest", "new"])
    now[0] += 2
    after = codec.encode(b"text", **ACME)
    assert (b"new" in before, b"newest" in after) == (True, True)
    assert codec.decode(before, **ACME) == codec.decode(after, **ACME) == b"text"
    write_codec_keys(tmp_path / "codec.toml", acme=["newest"])
    now[0] += 2
    with pytest.raises(ContentKeyError, match="the key of this data is gone"):
        codec.decode(before, **ACME)
    write_codec_keys(tmp_path / "codec.toml", other=["one"])
    now[0] += 2
    with pytest.raises(ContentKeyError, match="this tenant has no key"):
        codec.encode(b"text", **ACME)


def test_a_broken_file_changes_nothing(codec: AesGcmCodec, tmp_path: Path, now: list[float]):
    (tmp_path / "codec.toml").write_text("[", encoding="utf-8")
    now[0] += 2
    assert codec.decode(codec.encode(b"text", **ACME), **ACME) == b"text"


@pytest.mark.parametrize(
    ("codec", "says"),
    [
        ("aes-gcm", "TURNWIRE_CODEC_KEYS_FILE"),
        ("nonsense", "neither"),
        ("no_such_module:codec", "no_such_module"),
        ("tests.shared.test_codec:NO_CODEC", "encode and decode"),
        ("tests.shared.test_codec:Reversing", "encode and decode"),
    ],
)
def test_a_codec_that_there_is_not_is_refused_by_its_name(codec: str, says: str):
    with pytest.raises(SettingsError, match=says):
        codec_of(Settings(codec=codec))


def test_a_product_brings_its_own():
    assert codec_of(Settings(codec="tests.shared.test_codec:OWN")) is OWN
    assert codec_of(Settings()) is None


@pytest.mark.parametrize("keys", ['{ "a" = "c2hvcnQ=" }', '{ "a" = "?" }', '{ "b" = "c2hvcnQ=" }', '"secret"'])
def test_a_file_that_does_not_fit_is_refused_without_quoting_a_key(tmp_path: Path, keys: str):
    path = tmp_path / "codec.toml"
    path.write_text(f'[tenant.acme]\ncurrent = "a"\nkeys = {keys}\n', encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        AesGcmCodec(str(path))
    assert "c2hvcnQ" not in str(refused.value)
    assert "secret" not in str(refused.value)
