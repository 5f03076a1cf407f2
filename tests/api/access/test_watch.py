"""The credentials of open streams are looked at again and again, whatever happens to some of them."""

import asyncio
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from turnwire.api.access.door import Credential, Door, Presented
from turnwire.api.access.identity import Identity, Scope
from turnwire.api.access.revoked import Revocation
from turnwire.api.access.watch import CredentialWatch
from turnwire.shared.key_file import WatchedKeyFile
from turnwire.shared.settings import Settings

STREAMS = 50


@pytest.fixture
def door(tmp_path: Path) -> Door:
    keys = tmp_path / "keys.toml"
    keys.touch()
    settings = Settings(api_keys_file=str(keys), token_secret="t" * 40)
    return Door(settings, WatchedKeyFile(settings.api_keys_file))


def revoke(door: Door) -> None:
    door.revoked.learn({Revocation("acme", "key", "backend").field: time.time() + 60})


def token(door: Door, number: int) -> str:
    assert door.session_tokens is not None
    identity = Identity("acme", frozenset({Scope.READ}), "backend", session=f"s{number}")
    return door.session_tokens.make(identity, 60).token


@contextmanager
def streams(watch: CredentialWatch, admitted: list[Credential]) -> Generator[list[list[str]]]:
    """Watch the credentials of as many streams. Each list holds what was said to one of them."""
    said: list[list[str]] = [[] for _ in admitted]
    with ExitStack() as watched:
        for credential, one in zip(admitted, said, strict=True):
            watched.enter_context(watch.while_valid(credential, one.append))
        yield said


async def test_the_streams_go_on_while_all_their_tokens_are_verified_again(door: Door):
    watch = CredentialWatch(door)
    turns_of_the_loop = 0

    async def count() -> None:
        nonlocal turns_of_the_loop
        while True:
            turns_of_the_loop += 1
            await asyncio.sleep(0)

    admitted = [await door.admit(Presented(token(door, number))) for number in range(STREAMS)]
    with streams(watch, admitted) as said:
        revoke(door)
        counting = asyncio.create_task(count())
        await watch.look()
        counting.cancel()
    assert said == [["credentials_withdrawn"]] * STREAMS
    assert turns_of_the_loop >= STREAMS


async def test_a_check_that_fails_by_a_defect_hinders_no_other_one_and_is_repeated(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    watch = CredentialWatch(door)
    admitted = [await door.admit(Presented(token(door, number))) for number in range(2)]
    admit = door.admit

    async def broken(presented: Presented) -> Credential:
        if presented == admitted[0].presented:
            raise RuntimeError("a defect")
        return await admit(presented)

    with streams(watch, admitted) as said:
        revoke(door)
        with monkeypatch.context() as patched:
            patched.setattr(door, "admit", broken)
            await watch.look()
        assert said == [[], ["credentials_withdrawn"]]
        assert "a defect" in caplog.text
        await watch.look()
        assert said == [["credentials_withdrawn"]] * 2
