"""One table of the file of models: how a model is asked, by whom, and what it costs. The struct checks itself."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from turnwire.shared.key_file import TenantName

EnvironmentName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}\Z")]
PositiveTokens = Annotated[int, Meta(gt=0, lt=2**31)]
Milliseconds = Annotated[int, Meta(ge=0, le=86_400_000)]
PerMillion = Annotated[float, Meta(ge=0, le=1_000_000)]

OURS: Final = frozenset({"model", "messages", "stream", "stream_options"})  # fields that Turnwire itself sends
_OUR_HEADERS: Final = frozenset(
    {"accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "host",
     "idempotency-key", "transfer-encoding"}
)  # fmt: skip
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")
_DECIMALS: Final = 9  # a price has at most so many digits after the point, because amounts are kept in billionths


class SecretSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a key comes from: `key_env` names an environment variable, `key_file` a file. At most one is set."""

    key_env: EnvironmentName | None = None
    key_file: Annotated[str, Meta(min_length=1)] | None = None


class ModelPrices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The prices of a model, in the currency of the file, for a million tokens.

    Input that the server had cached costs `cached_input_per_million`, and tokens of reasoning cost
    `reasoning_per_million`. If one of these is None, such tokens cost as much as the others.
    """

    input_per_million: PerMillion
    output_per_million: PerMillion
    cached_input_per_million: PerMillion | None = None
    reasoning_per_million: PerMillion | None = None


class ListedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that clients may ask.

    Attributes:
        url: the server; `/chat/completions` is asked below it.
        name: what the server calls the model; None: as the table is called.
        key_env, key_file: where the key comes from; None: no key is sent.
        key_header: the header that carries the key as it is; None: it is sent as a Bearer token.
        tenant_keys: the keys of single tenants, which are sent in place of that key.
        system: the system prompt.
        parameters: fields of each request, such as `temperature`, unless the request for a turn says otherwise.
        body: fields of each request that nothing replaces.
        headers: headers of each request.
        stream_options: whether the server takes `stream_options`, by which it is asked for the usage.
        think: what a `<think>…</think>` at the beginning of an answer is: part of the text, reasoning, or nothing.
        continues: how the server is asked for the rest of an answer that broke off; `continue` in the file.
        fallbacks: the models that are asked in its place if it is down or overloaded, in this order.
        tenants: who may ask it; None: everybody.
        context_tokens: how many tokens a request and its answer may have together; None: there is no limit.
        prices: what it costs; None: its cost is unknown.
        max_attempts, request_timeout_ms, first_token_timeout_ms, idle_timeout_ms: in place of
            TURNWIRE_LLM_MAX_ATTEMPTS and so on.
    """

    url: str
    name: Annotated[str, Meta(min_length=1)] | None = None
    key_env: EnvironmentName | None = None
    key_file: Annotated[str, Meta(min_length=1)] | None = None
    key_header: str | None = None
    tenant_keys: dict[TenantName, SecretSource] = {}
    system: Annotated[str, Meta(min_length=1)] | None = None
    parameters: dict[str, Any] = {}
    body: dict[str, Any] = {}
    headers: dict[str, str] = {}
    stream_options: bool = True
    think: Literal["text", "reasoning", "hide"] = "text"
    continues: Literal["off", "prefill", "flags", "prefix", "llama-stream", "responses", "auto"] = msgspec.field(
        default="off", name="continue"
    )
    fallbacks: list[str] = []
    tenants: list[TenantName] | None = None
    context_tokens: PositiveTokens | None = None
    prices: ModelPrices | None = None
    max_attempts: Annotated[int, Meta(ge=1, le=100)] | None = None
    request_timeout_ms: Milliseconds | None = None
    first_token_timeout_ms: Milliseconds | None = None
    idle_timeout_ms: Milliseconds | None = None

    def may_be_asked_by(self, tenant: str) -> bool:
        """Whether a tenant may ask this model."""
        return self.tenants is None or tenant in self.tenants

    def source_for(self, tenant: str) -> SecretSource:
        """Return where the key comes from that is sent for this tenant."""
        return self.tenant_keys.get(tenant) or SecretSource(key_env=self.key_env, key_file=self.key_file)

    def wrong(self) -> str:
        """Say what does not fit together, with the key in front; '' if everything fits. It quotes no value."""
        return next(self._wrong(), "")

    def _wrong(self) -> Iterator[str]:
        yield from _wrong_url(self.url)
        if self.key_env and self.key_file:
            yield "key_file: set only one of key_env and key_file"
        yield from self._wrong_tenants()
        yield from self._wrong_headers()
        for key, fields in (("parameters", self.parameters), ("body", self.body)):
            yield from _wrong_fields(key, fields)
        if self.prices is not None:
            yield from _wrong_prices(self.prices)

    def _wrong_tenants(self) -> Iterator[str]:
        for tenant, source in self.tenant_keys.items():
            if bool(source.key_env) == bool(source.key_file):
                yield f"tenant_keys.{tenant}: set one of key_env and key_file"
            if not self.may_be_asked_by(tenant):
                yield f"tenant_keys.{tenant}: this tenant is not among `tenants`"

    def _wrong_headers(self) -> Iterator[str]:
        named = list(self.headers) if self.key_header is None else [*self.headers, self.key_header]
        for name in named:
            key = "key_header" if name == self.key_header else f"headers.{name[:80]}"
            if not _HEADER_NAME.match(name):
                yield f"{key}: this is not the name of a header"
            if name.lower() in _OUR_HEADERS:
                yield f"{key}: Turnwire itself sends this header"
        if len({name.lower() for name in named}) < len(named):
            yield "headers: a header is there twice"
        for name, value in self.headers.items():
            if name.lower() == "authorization":
                yield f"headers.{name}: secrets do not belong into this file; use key_env or key_file"
            if not (value.isascii() and value.isprintable() and value == value.strip()):
                yield f"headers.{name}: it has characters that do not fit into a header"


def _wrong_url(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        yield "url: this is not a URL"
        return
    if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"\s", url):
        yield "url: it must begin with http:// or https:// and name a host"
    if parts.username is not None or parts.password is not None:
        yield "url: it must not hold a user or a password; use key_env or key_file"
    if parts.fragment:
        yield "url: it must not have a fragment"


def _wrong_fields(key: str, fields: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(OURS & fields.keys()):
        yield f"{key}.{name}: Turnwire itself sends this field"
    for name, value in fields.items():
        if not _is_json(value):
            yield f"{key}.{name[:80]}: JSON has no such value"


def _is_json(value: Any) -> bool:
    """Whether JSON can represent a value of TOML, which also has dates, infinity and NaN."""
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    return math.isfinite(value) if isinstance(value, float) else isinstance(value, str)


def _wrong_prices(prices: ModelPrices) -> Iterator[str]:
    for name in ModelPrices.__struct_fields__:
        price = getattr(prices, name)
        if price is not None and round(price, _DECIMALS) != price:
            yield f"prices.{name}: at most {_DECIMALS} digits after the point"
