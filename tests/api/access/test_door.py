"""Who a request comes from, by the credentials that it presents."""

from pathlib import Path

import pytest

from tests.support.key_file import key_block, write_key_file
from turnwire.api.access.door import Door, Presented
from turnwire.api.access.errors import Forbidden, Unauthenticated
from turnwire.api.access.identity import ANYBODY, NOBODY, Identity, Scope
from turnwire.api.server import check_bind
from turnwire.shared.errors import SettingsError
from turnwire.shared.key_file import WatchedKeyFile
from turnwire.shared.settings import Settings

SECRET = "tw_secret"


@pytest.fixture
def keyed(tmp_path: Path) -> Door:
    path = write_key_file(
        tmp_path / "keys.toml",
        key_block("backend", SECRET, "acme", ["turns"]),
        key_block("ada", "tw_ada", "acme", ["read"], user="ada"),
    )
    return door(api_keys_file=str(path))


def door(**settings: str | None) -> Door:
    environ = {f"TURNWIRE_{name.upper()}": value or "" for name, value in settings.items()}
    read = Settings.from_env(environ)
    return Door(read, WatchedKeyFile(read.api_keys_file))


async def test_a_key_gives_its_tenant_its_scopes_and_its_user(keyed: Door):
    assert await keyed.identify(Presented(SECRET)) == Identity("acme", frozenset({Scope.TURNS}), "backend")
    ada = await keyed.identify(Presented("tw_ada"))
    assert (ada.user, set(ada.scopes), ada.name) == ("ada", {Scope.READ}, "ada")
    assert await keyed.identify(Presented("tw_ada")) is ada


@pytest.mark.parametrize("wrong", [None, "", SECRET[:-1], SECRET + "x", SECRET.upper(), "\udcff", "tw_äöü"])
async def test_anything_else_is_refused(keyed: Door, wrong: str | None):
    with pytest.raises(Unauthenticated) as refused:
        await keyed.identify(Presented(wrong))
    assert refused.value.presented is (wrong is not None)
    assert not wrong or wrong not in str(refused.value)


async def test_without_credentials_to_check_everybody_may_do_everything():
    assert await door().identify(Presented()) is ANYBODY
    assert await door(auth="none").identify(Presented()) is ANYBODY
    assert ANYBODY.tenant == "default"
    assert all(ANYBODY.may(scope) for scope in Scope)


async def test_a_proxy_may_name_the_tenant_and_then_must():
    behind_proxy = door(auth="none", tenant_header="X-Tenant")
    identity = await behind_proxy.identify(Presented(tenant="acme"))
    assert identity.tenant == "acme"
    assert not identity.may(Scope.ADMIN)  # no tenant looks after the deployment
    assert not identity.may(Scope.METRICS)
    for missing in (None, "", "a~b", "a b"):
        with pytest.raises(Unauthenticated):
            await behind_proxy.identify(Presented(tenant=missing))


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        (set(), {"public"}),
        ({"read"}, {"public", "read"}),
        ({"turns"}, {"public", "read", "turns"}),
        ({"tokens"}, {"public", "tokens"}),
        ({"metrics"}, {"public", "metrics"}),
        ({"admin"}, {"public", "admin", "metrics"}),
    ],
)
def test_a_scope_includes_no_other_one_but_turns_includes_read_and_admin_includes_metrics(
    given: set[str], allowed: set[str]
):
    identity = Identity("acme", frozenset(map(Scope, given)), "k")
    assert {scope for scope in Scope if identity.may(scope)} == allowed | {Scope.ANY}
    for scope in set(Scope) - {Scope(name) for name in allowed | {Scope.ANY}}:
        with pytest.raises(Forbidden, match=scope):
            identity.require(scope)


def test_a_binding_opens_one_session_or_those_of_a_prefix():
    one = Identity("acme", frozenset(), "k", session="a")
    many = Identity("acme", frozenset(), "k", session_prefix="a-")
    assert [one.opens(name) for name in ("a", "a-1", "b", "")] == [True, False, False, False]
    assert [many.opens(name) for name in ("a", "a-1", "b", "")] == [False, True, False, False]
    assert not any(NOBODY.opens(name) for name in ("a", "a-1", "default"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "chat.example.com"])
def test_only_loopback_is_bound_without_credentials(host: str, tmp_path: Path):
    with pytest.raises(SettingsError, match=r"HOST is .*\. Set TURNWIRE_API_KEYS_FILE .* or TURNWIRE_AUTH=none"):
        check_bind(Settings(host=host))
    check_bind(Settings(host=host, auth="none"))
    check_bind(Settings(host=host, api_keys_file=str(tmp_path)))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_loopback_needs_no_credentials(host: str):
    check_bind(Settings(host=host))


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"TURNWIRE_AUTH": "none", "TURNWIRE_API_KEYS_FILE": "k"}, "TURNWIRE_AUTH"),
        ({"TURNWIRE_TENANT_HEADER": "X-Tenant"}, "TURNWIRE_TENANT_HEADER"),
        ({"TURNWIRE_TENANT_HEADER": "X Tenant", "TURNWIRE_AUTH": "none"}, "TURNWIRE_TENANT_HEADER"),
        ({"TURNWIRE_AUTH": "off"}, "TURNWIRE_AUTH"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str], named: str):
    with pytest.raises(SettingsError, match=named):
        Settings.from_env(environ)
