"""Finds the keys of listed models: in environment variables, or in files that are read again when they change."""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

from turnwire.shared.errors import SettingsError
from turnwire.shared.listed_model import ListedModel, SecretSource
from turnwire.shared.logs import hide
from turnwire.shared.watched_file import WatchedFile

KeyReader = Callable[[], str | None]


def key_readers(
    listed: ListedModel, environ: Mapping[str, str], folder: Path, where: str
) -> dict[str | None, KeyReader]:
    """Return, for each tenant with a key of its own, what reads it; under None, what reads the key of all others.

    `folder`: where the paths of files begin, unless they are absolute. `where` stands at the beginning of each error.

    Raises:
        SettingsError: a variable is not set, a file cannot be read, or a key does not fit into a header. The text names
            the variable or the file, and never shows a key.
    """
    own = SecretSource(key_env=listed.key_env, key_file=listed.key_file)
    readers: dict[str | None, KeyReader] = {None: _reader(own, environ, folder, where)}
    for tenant, source in listed.tenant_keys.items():
        readers[tenant] = _reader(source, environ, folder, f"{where}: tenant_keys.{tenant}")
    return readers


def key_headers(listed: ListedModel, key: str | None) -> dict[str, str]:
    """Return the headers that carry a key."""
    if key is None:
        return {}
    return {"Authorization": f"Bearer {key}"} if listed.key_header is None else {listed.key_header: key}


def _reader(source: SecretSource, environ: Mapping[str, str], folder: Path, where: str) -> KeyReader:
    if source.key_file is not None:
        here = f"{where}: key_file"
        file = WatchedFile(here, str(folder / source.key_file), lambda text: _checked(text, here), clock=monotonic)
        return lambda: file.content
    if source.key_env is None:
        return lambda: None
    text = environ.get(source.key_env)
    if not text:
        raise SettingsError(f"{where}: key_env: the environment variable {source.key_env} is not set")
    key = _checked(text, f"{where}: key_env: {source.key_env}")
    return lambda: key


def _checked(text: str, where: str) -> str:
    key = text.strip()
    if not key:
        raise SettingsError(f"{where}: there is no key in it")
    if not (key.isascii() and key.isprintable()):
        raise SettingsError(f"{where}: the key has characters that do not fit into a header")
    hide(key)
    return key
