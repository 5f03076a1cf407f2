"""The prices of models, from a TOML file: a table of prices, or the file of models. They have a version.

Amounts are exact integers in billionths of the currency.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from turnwire.shared.errors import SettingsError, storable
from turnwire.shared.listed_model import ModelPrices
from turnwire.shared.model import ModelCall
from turnwire.shared.models_file import ModelsFile, watch_models_file
from turnwire.shared.settings import Settings
from turnwire.shared.usage import Usage
from turnwire.shared.watched_file import WatchedFile

NANOS: Final = 1_000_000_000
PER_TOKENS: Final = 1_000_000
MOST_TOKENS: Final = 2**31  # one call uses fewer tokens; a number from here on is not believed
MOST_COST_NANOS: Final = 2**53  # one call does not cost more than this: nine million dollars
MOST_PER_MILLION: Final = 1_000_000

_VERSION = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CURRENCY = re.compile(r"[A-Z]{3,8}")
_MODEL_CHARACTERS: Final = 256
_REASON_CHARACTERS: Final = 64


class Price(msgspec.Struct, frozen=True):
    """The prices of one model, in billionths of the currency per million tokens.

    Input that came from the server's cache costs `cached_in`, and tokens of reasoning cost `reasoning`. None: they cost
    as much as the others.
    """

    tokens_in: int
    tokens_out: int
    cached_in: int | None = None
    reasoning: int | None = None

    def cost_nanos(self, tokens_in: int, tokens_out: int, cached: int, reasoning: int) -> int:
        """Return what a call costs, rounded once. `cached` are among `tokens_in`, `reasoning` among `tokens_out`."""
        cost = tokens_in * self.tokens_in + tokens_out * self.tokens_out
        if self.cached_in is not None:
            cost += min(cached, tokens_in) * (self.cached_in - self.tokens_in)
        if self.reasoning is not None:
            cost += min(reasoning, tokens_out) * (self.reasoning - self.tokens_out)
        return (cost + PER_TOKENS // 2) // PER_TOKENS


_NEEDED: Final = {"input_per_million", "output_per_million"}
_OTHERS: Final = ["cached_input_per_million", "reasoning_per_million"]
_FIELDS: Final = {  # of Price, and what they are called in files
    "tokens_in": "input_per_million",
    "tokens_out": "output_per_million",
    "cached_in": "cached_input_per_million",
    "reasoning": "reasoning_per_million",
}


class Prices:
    """The price table. Without a table, and for a model that it does not name, the cost is unknown."""

    def __init__(
        self,
        models: Mapping[str, Price] | None = None,
        currency: str | None = None,
        version: str | None = None,
        named: Iterable[str] = (),
    ) -> None:
        """`named`: models that the settings name, besides those of the table."""
        self._models = dict(models or {})
        self.named = frozenset(named) | self._models.keys()
        self.currency = currency
        self.version = version

    @classmethod
    def from_settings(cls, settings: Settings) -> "Prices":
        """Read the table from TURNWIRE_PRICES_FILE, or from TURNWIRE_MODELS_FILE. Without them, the table is empty.

        Raises:
            SettingsError: the table cannot be used. The text names the file and the entry that is wrong.
        """
        if settings.models_file is not None:
            return ListedPrices(watch_models_file(settings.models_file))
        if settings.prices_file is None:
            return cls(named=settings.llm_model_names)
        where = f"TURNWIRE_PRICES_FILE: {settings.prices_file}"
        try:
            with open(settings.prices_file, "rb") as file:
                table = tomllib.load(file, parse_float=Decimal)
        except OSError as error:
            raise SettingsError(f"{where}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{where}: not TOML: {error}") from None
        return _checked(table, where, settings.llm_model_names)

    def used_by(self, call: ModelCall) -> Usage:
        """Return the usage of one call. A count or a name that cannot be true is taken as unknown."""
        tokens_in, tokens_out = _count(call.tokens_in), _count(call.tokens_out)
        model = _name(call.model)
        cached, reasoning = _count(call.cached_tokens), _count(call.reasoning_tokens)
        price = self._models.get(model) if model is not None else None
        cost = None
        if price is not None and tokens_in is not None and tokens_out is not None:
            cost = price.cost_nanos(tokens_in, tokens_out, cached or 0, reasoning or 0)
        used = Usage(
            1, tokens_in, tokens_out, cost, self.currency, self.version, model, cached, reasoning,
            _word(call.finish_reason), call.partial is True,
        )  # fmt: skip
        return used if call.cost_nanos is None else self._measured(call, used)

    def _measured(self, call: ModelCall, used: Usage) -> Usage:
        """Return the usage of a call whose cost the product gave. It has no price version: no price was looked up."""
        currency = self.currency if call.currency is None else _currency(call.currency)
        cost = call.cost_nanos if type(call.cost_nanos) is int and 0 <= call.cost_nanos <= MOST_COST_NANOS else None
        return msgspec.structs.replace(
            used, cost_nanos=cost if currency else None, currency=currency, price_version=None
        )


class ListedPrices(Prices):
    """The prices in the file of models. A new file counts for the next call."""

    def __init__(self, file: WatchedFile[ModelsFile]) -> None:
        super().__init__()
        self._file = file
        self._take(file.content)

    def used_by(self, call: ModelCall) -> Usage:
        if (content := self._file.content) is not self._taken:
            self._take(content)
        return super().used_by(call)

    def _take(self, content: ModelsFile) -> None:
        self._taken = content
        self._models = {name: _listed(it.prices) for name, it in content.models.items() if it.prices is not None}
        self.named = frozenset(content.models) | {listed.name or name for name, listed in content.models.items()}
        self.currency, self.version = content.currency, content.version


def _listed(prices: ModelPrices) -> Price:
    return Price(**{
        field: int(Decimal(repr(amount)) * NANOS)  # the shortest decimal of a float is what stands in the file
        for field, name in _FIELDS.items()
        if (amount := getattr(prices, name)) is not None
    })  # fmt: skip


def _currency(code: Any) -> str | None:
    return code if isinstance(code, str) and _CURRENCY.fullmatch(code) else None


def _count(tokens: Any) -> int | None:
    return tokens if type(tokens) is int and 0 <= tokens < MOST_TOKENS else None


def _word(reason: Any) -> str | None:
    return storable(reason)[:_REASON_CHARACTERS] if isinstance(reason, str) and reason else None


def _name(model: Any) -> str | None:
    if not isinstance(model, str) or not 0 < len(model) <= _MODEL_CHARACTERS:
        return None
    return model if model.isprintable() else None  # this refuses half a surrogate pair, too


def _checked(table: dict[str, Any], where: str, named: Iterable[str]) -> Prices:
    for name in table:
        if name not in {"version", "currency", "models"}:
            raise SettingsError(f"{where}: {name}: no such entry")
    version, currency = table.get("version"), table.get("currency")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise SettingsError(f"{where}: version: 1 to 64 characters of A-Z a-z 0-9 . _ -")
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        raise SettingsError(f"{where}: currency: capital letters, as USD")
    models = table.get("models", {})
    if not isinstance(models, dict):
        raise SettingsError(f'{where}: models: tables, as [models."name"]')
    prices = {name: _price(entry, f'{where}: models."{name}"') for name, entry in models.items()}
    return Prices(prices, currency, version, named)


def _price(entry: Any, where: str) -> Price:
    if not isinstance(entry, dict) or not _NEEDED <= entry.keys() <= set(_FIELDS.values()):
        raise SettingsError(f"{where}: it has {' and '.join(sorted(_NEEDED))}, and may have {' and '.join(_OTHERS)}")
    return Price(**{
        field: _nanos(entry[name], f"{where}: {name}") for field, name in _FIELDS.items() if name in entry
    })  # fmt: skip


def _nanos(amount: Any, where: str) -> int:
    is_number = type(amount) in {int, Decimal} and Decimal(amount).is_finite()
    if not (is_number and 0 <= amount <= MOST_PER_MILLION):
        raise SettingsError(f"{where}: a number from 0 to {MOST_PER_MILLION}")
    nanos = Decimal(amount) * NANOS
    if nanos != int(nanos):
        raise SettingsError(f"{where}: at most 9 digits after the point")
    return int(nanos)
