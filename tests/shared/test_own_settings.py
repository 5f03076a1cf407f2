"""A tenant's own settings come before those of the environment, as soon as the key file says so."""

import msgspec

from tests.support.clock import Clock
from tests.support.key_file import write_key_file
from tests.support.turns import SESSION, claim, request
from turnwire.shared.key_file import WatchedKeyFile
from turnwire.shared.own_settings import OwnSettings
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.watched_file import LOOK_S
from turnwire.worker.attempt.appender import Appender


def test_a_table_replaces_what_it_names_and_nothing_else(settings, tmp_path):
    path, clock = tmp_path / "keys.toml", Clock()
    write_key_file(path, "[tenant.acme]\nmax_log_bytes = 5\nweight = 2\n")
    own = OwnSettings(settings, WatchedKeyFile(str(path), clock=clock))
    of_acme = own.of("acme")
    assert of_acme == msgspec.structs.replace(settings, max_log_bytes=5)
    assert own.of("acme") is of_acme, "it is worked out once"
    assert own.of("other") is settings
    write_key_file(path, "[tenant.acme]\nmax_log_bytes = 7\nretention_s = 9\n")
    clock.now_s += LOOK_S
    assert own.of("acme") == msgspec.structs.replace(settings, max_log_bytes=7, retention_s=9)


async def test_a_log_has_the_limits_of_its_tenant(redis, settings, tmp_path):
    path = write_key_file(tmp_path / "keys.toml", "[tenant.default]\nmax_log_events = 2\n")
    store = TurnStore(redis, msgspec.structs.replace(settings, api_keys_file=str(path)))
    key = SESSION.turn(0)
    await store.submit(key, request())
    log = Appender(store).open(await claim(store, key), lambda _: None)
    assert (log._max_events, log._max_bytes) == (2, settings.max_log_bytes)
