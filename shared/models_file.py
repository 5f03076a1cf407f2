"""Reads the file of models (TURNWIRE_MODELS_FILE): which models a client may ask, and how a worker asks each of them.

```toml
default = "small"                # asked by requests that name no model; without it, the first table's

[models.small]
url = "https://models.example.com/v1"
key_env = "MODELS_API_KEY"       # the name of an environment variable
name = "provider/small-2026"     # what the server calls it
fallbacks = ["large"]
```

The API needs the names and the tenants, the worker needs everything. Both check the whole file. It holds no secrets, so
only the worker needs the variables and files that it names. It is read again when it has changed, like the key file.
"""

import re
import time
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from turnwire.shared.errors import SettingsError
from turnwire.shared.listed_model import ListedModel
from turnwire.shared.watched_file import WatchedFile

SETTING: Final = "TURNWIRE_MODELS_FILE"

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_PLACE = re.compile(r"(?s)(?P<reason>.*) - at `\$\.?(?P<key>.*)`\Z")
_MODEL_CHARACTERS: Final = 256  # as many as the `model` of a request may have


class ModelsFile(msgspec.Struct, frozen=True):
    """The content of the file.

    Attributes:
        models: the models by the names that clients use, in the order of the file.
        default: the model that is asked by a request that names none.
        currency, version: of all prices in the file; None: no model has prices.
    """

    models: Mapping[str, ListedModel]
    default: str
    currency: str | None = None
    version: str | None = None

    def asked(self, model: str | None, tenant: str) -> str | None:
        """Return the name of the model that a request of this tenant asks; None: there is none that it may ask."""
        name = self.default if model is None else model
        listed = self.models.get(name)
        return name if listed is not None and listed.may_be_asked_by(tenant) else None

    def askable(self, tenant: str) -> list[str]:
        """Return the names of the models that a tenant may ask, in the order of the file."""
        return [name for name, listed in self.models.items() if listed.may_be_asked_by(tenant)]

    def fallbacks(self, name: str, tenant: str) -> list[str]:
        """Return the models that are asked in place of this one. It leaves out those that the tenant may not ask."""
        return [other for other in self.models[name].fallbacks if self.models[other].may_be_asked_by(tenant)]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    models: dict[str, Any]
    default: str | None = None
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3,8}\Z")] | None = None
    version: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")] | None = None


def watch_models_file(path: str, *, clock: Callable[[], float] = time.monotonic) -> WatchedFile[ModelsFile]:
    """Read the file, and read it again when it has changed.

    Raises:
        SettingsError: the file cannot be read, or it is not a file of models.
    """
    where = f"{SETTING}: {path}"
    return WatchedFile(where, path, partial(parse_models_file, where=where), clock=clock)


def parse_models_file(text: str, where: str = SETTING) -> ModelsFile:
    """Return the content of a file of models. `where` stands at the beginning of each error.

    Raises:
        SettingsError: it is not TOML, or not a file of models. The text names the table and the key that are wrong.
    """
    try:
        document = msgspec.convert(tomllib.loads(text), _Document)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where}: it is not TOML ({error})") from None
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {_told(error)}") from None
    if not document.models:
        raise SettingsError(f"{where}: models: there must be at least one table, such as [models.small]")
    models = {name: _model(name, entry, where) for name, entry in document.models.items()}
    default = next(iter(models)) if document.default is None else document.default
    if default not in models:
        raise SettingsError(f"{where}: default: there is no table {_table(default)}")
    for name, listed in models.items():
        _check_fallbacks(name, listed, models, where)
    _check_prices(document, models, where)
    return ModelsFile(models, default, document.currency, document.version)


def _model(name: str, entry: Any, where: str) -> ListedModel:
    here = f"{where}: {_table(name)}"
    if not (0 < len(name) <= _MODEL_CHARACTERS and name.isprintable()):
        raise SettingsError(f"{here}: a name must have 1 to {_MODEL_CHARACTERS} printable characters")
    try:
        listed = msgspec.convert(entry, ListedModel)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{here}: {_told(error)}") from None
    if wrong := listed.wrong():
        raise SettingsError(f"{here}: {wrong}")
    return listed


def _check_fallbacks(name: str, listed: ListedModel, models: Mapping[str, ListedModel], where: str) -> None:
    for other in listed.fallbacks:
        if other not in models or other == name or listed.fallbacks.count(other) > 1:
            wrong = f"each must be another table of this file, but {other[:80]!r} is not"
            raise SettingsError(f"{where}: {_table(name)}: fallbacks: {wrong}")


def _check_prices(document: _Document, models: Mapping[str, ListedModel], where: str) -> None:
    priced = next((name for name, listed in models.items() if listed.prices is not None), None)
    if priced is not None and (document.currency is None or document.version is None):
        missing = "currency" if document.currency is None else "version"
        raise SettingsError(f"{where}: {missing}: it must be set, because {_table(priced)} has prices")


def _table(name: str) -> str:
    """The head of a model's table, as it stands in the file."""
    shown = name[:80]
    return f"[models.{shown}]" if _BARE.match(shown) else f"[models.{msgspec.json.encode(shown).decode()}]"


def _told(error: msgspec.ValidationError) -> str:
    """What is wrong, behind the key of which it is said."""
    text = str(error).replace(" | null", "")  # TOML has no null
    place = _PLACE.match(text)
    return f"{place['key']}: {place['reason']}" if place and place["key"] else text.partition(" - at `$`")[0]
