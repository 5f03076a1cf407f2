"""The settings, read from the environment once. A variable that is unknown or does not fit is refused by its name."""

import re
import typing
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Meta

from turnwire.shared.errors import SettingsError
from turnwire.shared.lanes import Priority

PREFIX = "TURNWIRE_"
CLIENT_VARIABLES: Final = ("TURNWIRE_URL", "TURNWIRE_API_KEY")  # of the command line; no service reads them

Positive = Annotated[int, Meta(gt=0)]
PositiveSeconds = Annotated[float, Meta(gt=0, le=31_536_000)]

Deployment = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,64}\Z")]
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}\Z")]

_ORIGIN = r"(https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])|https://\*(\.[A-Za-z0-9-]+)+)(:[0-9]{1,5})?"
Origins = Annotated[str, Meta(pattern=rf"^( *{_ORIGIN} *(,|\Z))+\Z")]

RootPath = Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._~-]+)+\Z")]

_USER_IN_URL = re.compile(r"(?<=://).*(?=@)")
_SECRET_IN_QUERY = re.compile(r"((?:key|token|secret|sig|signature|password)=)[^&#]*", re.IGNORECASE)


@cache  # each submit asks for the name
def _database_name(redis_url: str, *, names_sentinels: bool) -> str:
    url = urlsplit(redis_url)
    path = "" if url.scheme == "unix" else url.path  # the path of a unix socket's URL is a file, not a database
    if names_sentinels:
        path = path.removeprefix("/").partition("/")[2]  # behind the name of the service
    database = parse_qs(url.query).get("db", [path])[0].strip("/")
    return f"db{int(database)}" if database.isdecimal() and int(database) else ""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One field per variable: `lease_ms` is `TURNWIRE_LEASE_MS`. docs/settings.md explains each."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    queue_redis_url: str | None = None  # default: the same server
    deployment: Deployment | None = None  # keeps the channels apart; see `deployment_name` for the default
    redis_connections: Positive = 8  # per process and server; a worker has three more, which wait
    redis_replicas: Annotated[int, Meta(ge=0)] = 0  # so many must have a turn, signal, text or end before it counts
    codec: str | None = None  # encrypts content: `aes-gcm`, or module:attribute
    codec_keys_file: str | None = None  # the keys of `aes-gcm`
    redis_timeout_s: PositiveSeconds = 5.0  # a command without a reply after this time counts as lost
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    root_path: RootPath | None = None  # under which a proxy shows the API
    page: bool = True  # whether the API serves the web page at its root
    allowed_hosts: str | None = None  # names, with commas; default: any, and on loopback only the names of loopback
    cors_origins: Origins | None = None  # whose pages may use the API in a browser
    trusted_proxies: str | None = None  # addresses and networks, with commas; only they name the client's address
    development: bool = False  # the API of a developer's machine: operators may kill workers there
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    client_traces: Literal["parent", "link"] = "parent"  # what the trace of a client is to that of its turn
    metrics_open: bool = False  # whether the API shows its metrics to everybody
    metrics_host: str = "127.0.0.1"  # where a worker shows its metrics and answers probes
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] | None = None  # None: it does not
    metrics_tenants: Annotated[int, Meta(ge=0, le=1000)] = 10  # so many of them have names in the metrics of the queue

    # who may do what
    auth: Literal["none"] | None = None  # "none": the API asks nobody for credentials, on any address
    api_keys_file: str | None = None
    tenant_header: HeaderName | None = None  # in which a proxy names the tenant; only with auth "none"
    token_secret: str | None = None  # signs session tokens; two with a space between them, to rotate
    token_secret_file: str | None = None  # the same in a file, which is read again when it changes
    jwt_jwks_url: str | None = None  # the public keys of the identity provider whose tokens count
    jwt_secret: str | None = None  # or the secret that it shares; two with a space between them, to rotate
    jwt_secret_file: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_algorithms: str | None = None  # with commas; default: all that fit the kind of key
    jwt_tenant: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")] | None = None  # in place of a claim
    jwt_tenant_claim: str = "tenant"
    jwt_user_claim: str = "sub"  # "-": the tokens are bound to no user
    jwt_scope_claim: str = "scope"

    # which workers take a turn, and how soon
    project_pools: str | None = None  # `project=pool` pairs, with commas; `*` is any other project
    priority: Priority = "interactive"  # of turns whose request names none

    # what a product plugs in
    hooks: str | None = None
    models_file: str | None = None  # the models that clients may ask, and how
    llm_base_url: str | None = None
    llm_api_key: str | None = None
    llm_model: str = "default"
    llm_models: str | None = None  # others that clients may ask there, with commas
    llm_max_attempts: Positive = 5
    llm_initial_backoff_ms: Annotated[int, Meta(ge=0)] = 1000
    llm_max_backoff_ms: Annotated[int, Meta(ge=0)] = 30_000
    llm_jitter: Annotated[float, Meta(ge=0, le=1)] = 0.25
    llm_request_timeout_ms: Annotated[int, Meta(ge=0)] = 120_000
    llm_first_token_timeout_ms: Annotated[int, Meta(ge=0)] | None = None  # default: llm_request_timeout_ms
    llm_idle_timeout_ms: Annotated[int, Meta(ge=0)] = 60_000
    llm_traceparent: bool = False  # whether requests tell model servers their trace
    llm_stream_options: bool = True  # whether requests ask for the usage by `stream_options`
    llm_think: Literal["text", "reasoning", "hide"] = "text"  # what `<think>…</think>` before an answer is
    llm_continue: Literal["off", "prefill", "flags", "prefix", "llama-stream", "responses", "auto"] = "off"
    history_turns: Annotated[int, Meta(ge=0)] = 50
    history_bytes: Positive = 4_194_304  # of all messages together
    history_stopped: Literal["leave_out", "keep"] = "leave_out"  # turns that failed or were cancelled, with their text

    # the worker
    max_jobs: Positive = 100
    lease_ms: Annotated[int, Meta(ge=100)] = 5000
    max_attempts: Positive = 5
    turn_timeout_s: PositiveSeconds = 3600.0
    reserved_slots: Annotated[int, Meta(ge=0)] = 0  # of `max_jobs`, for tenants that run nothing in this worker
    drain_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 30.0
    persist_tries: Positive = 3
    hook_timeout_s: PositiveSeconds = 60.0  # one call of a hook that follows the answer may take so long
    blocked_s: PositiveSeconds = 60.0  # an event loop that has not run for so long counts as dead
    pools: str = "default"  # the pools whose turns this worker takes, with commas, the preferred one first
    batch_age_s: PositiveSeconds = 300.0  # a batch turn that has waited for so long counts as an interactive one
    poll_s: PositiveSeconds = 4.0  # an idle worker looks at the queue so often, in case a wake-up was lost

    # who is told of the end of a turn
    callback_hosts: str | None = None  # names, with commas: a request may name URLs of these; None: no request may
    callback_secret: str | None = None  # signs what is told; two with a space between them, to rotate
    callback_secret_file: str | None = None
    callback_private: bool = False  # whether addresses that are not public may be told, and by http://
    callback_timeout_s: PositiveSeconds = 10.0

    # the ledger
    prices_file: str | None = None
    ledger_rows: Positive = 100_000  # the stream keeps about so many, of some 0.6 KB each

    # what each tenant may do at most; its table in the key file may say otherwise
    requests_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    max_open_turns: Positive | None = None
    max_tails: Positive | None = None  # in each API process
    max_sessions: Positive | None = None  # with turns that are kept

    # limits and retention
    retention_s: Positive = 86_400
    audit_entries: Positive = 10_000  # the audit stream keeps about so many, of some 0.3 KB each
    session_retention_s: Positive = 34_560_000  # 400 days; a session's next index is kept so long, in some 120 bytes
    stall_s: PositiveSeconds = 30.0  # a client that reads nothing for so long is cut off
    keep_alive_s: Positive = 75  # longer than a proxy keeps an idle connection, so that the proxy closes it first
    shutdown_delay_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0  # for proxies that look at /readyz
    max_body_bytes: Positive = 1_048_576
    max_arriving_bytes: Positive = 4_194_304  # of all bodies together that an API process receives at a time
    max_event_bytes: Positive = 262_144
    max_log_events: Positive = 100_000
    max_log_bytes: Positive = 67_108_864
    max_turns_per_session: Positive = 10_000
    max_signals: Positive = 1000  # in one turn
    max_signal_bytes: Positive = 16_777_216  # of all signals of one turn together
    max_step_bytes: Positive = 4_194_304  # of the result of one step
    max_queued: Positive = 100_000
    listed_turns: Positive = 100_000  # operators see so many in the list of turns, the newest; each takes some 0.1 KB

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read `TURNWIRE_*` (and `PORT`, which platforms set); an empty value counts as not set.

        Raises:
            SettingsError: a variable is unknown, or its value does not fit. The text names the variable.
        """
        types_by_field = typing.get_type_hints(cls, include_extras=True)
        values: dict[str, Any] = {}
        if environ.get("PORT"):
            values["port"] = _convert("PORT", environ["PORT"], types_by_field["port"])
        for name, text in sorted(environ.items()):
            if not name.startswith(PREFIX) or not text or name in CLIENT_VARIABLES:
                continue
            field = name.removeprefix(PREFIX).lower()
            if field not in types_by_field or name != name.upper():
                raise SettingsError(f"{name}: no such setting (docs/settings.md lists them)")
            values[field] = _convert(name, text, types_by_field[field])
        settings = cls(**values)
        settings._check_together()
        return settings

    def _check_together(self) -> None:
        if self.reserved_slots >= self.max_jobs:
            raise SettingsError("TURNWIRE_RESERVED_SLOTS must be smaller than TURNWIRE_MAX_JOBS")
        if self.lease_ms >= self.turn_timeout_s * 1000:
            raise SettingsError("TURNWIRE_LEASE_MS must be shorter than TURNWIRE_TURN_TIMEOUT_S")
        if self.models_file and self.llm_base_url:
            raise SettingsError("TURNWIRE_MODELS_FILE and TURNWIRE_LLM_BASE_URL: set only one of them")
        if self.models_file and self.prices_file:
            raise SettingsError("TURNWIRE_MODELS_FILE holds the prices of its models: leave out TURNWIRE_PRICES_FILE")
        self._check_access()

    def _check_access(self) -> None:
        if self.auth == "none" and self.authenticates:
            raise SettingsError("TURNWIRE_AUTH is none, so no credentials would be checked: leave it or them out")
        if self.tenant_header and self.auth != "none":
            raise SettingsError("TURNWIRE_TENANT_HEADER needs TURNWIRE_AUTH=none")
        for name in ("token_secret", "jwt_secret", "callback_secret"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                raise SettingsError(f"{PREFIX}{name.upper()} and {PREFIX}{name.upper()}_FILE: set only one of them")
        if self.makes_tokens and not self.authenticates:
            raise SettingsError("TURNWIRE_TOKEN_SECRET needs TURNWIRE_API_KEYS_FILE: only who has a key makes tokens")
        if self.jwt_jwks_url and (self.jwt_secret or self.jwt_secret_file):
            raise SettingsError("TURNWIRE_JWT_JWKS_URL and TURNWIRE_JWT_SECRET: set only one of them")
        if self.takes_jwt and not (self.jwt_issuer and self.jwt_audience):
            raise SettingsError("TURNWIRE_JWT_ISSUER and TURNWIRE_JWT_AUDIENCE must say which tokens count")
        if self.jwt_jwks_url and not _is_safe(self.jwt_jwks_url):
            raise SettingsError("TURNWIRE_JWT_JWKS_URL must be an https:// URL; http:// is for this machine only")

    def __repr__(self) -> str:
        """Show the settings without their secrets, because settings end up in logs and tracebacks."""
        shown = (f"{name}={_without_secrets(name, getattr(self, name))!r}" for name in self.__struct_fields__)
        return f"Settings({', '.join(shown)})"

    @property
    def authenticates(self) -> bool:
        """Whether the API asks for credentials."""
        return self.api_keys_file is not None or self.takes_jwt

    @property
    def takes_jwt(self) -> bool:
        """Whether the API takes tokens of an identity provider."""
        return (self.jwt_jwks_url or self.jwt_secret or self.jwt_secret_file) is not None

    @property
    def makes_tokens(self) -> bool:
        """Whether the API makes session tokens."""
        return (self.token_secret or self.token_secret_file) is not None

    @property
    def queue_url(self) -> str:
        """The URL of the Redis that holds arq's keys."""
        return self.queue_redis_url or self.redis_url

    @property
    def llm_model_names(self) -> list[str]:
        """The models of the one model server that clients may ask, the default first."""
        others = (name.strip() for name in (self.llm_models or "").split(","))
        return list(dict.fromkeys([self.llm_model, *filter(None, others)]))

    @property
    def names_sentinels(self) -> bool:
        """True if the URL of the data Redis names Sentinels, and not a server."""
        return urlsplit(self.redis_url).scheme.endswith("+sentinel")

    @property
    def deployment_name(self) -> str:
        """The name that is part of every pub/sub channel; by default `db<N>`, or empty for database 0.

        Pub/sub ignores databases: without it, two deployments on one server would hear each other.
        """
        if self.deployment is not None:
            return self.deployment
        return _database_name(self.redis_url, names_sentinels=self.names_sentinels)

    @property
    def longest_hook_s(self) -> float:
        """How many seconds one call of a hook that follows the answer may take. It is at most the turn's own limit."""
        return min(self.hook_timeout_s, self.turn_timeout_s)

    @property
    def batch_age_ms(self) -> int:
        """After how many ms of waiting a batch turn counts as an interactive one."""
        return round(self.batch_age_s * 1000)

    @property
    def retention_ms(self) -> int:
        """How many ms a turn is kept after its end."""
        return self.retention_s * 1000

    @property
    def session_retention_ms(self) -> int:
        """How many ms the next index of a session is kept after the session's last new turn."""
        return self.session_retention_s * 1000


def _convert(name: str, text: str, kind: Any) -> Any:
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        shown = "" if "KEY" in name or "SECRET" in name else f" {text[:80]!r}"
        raise SettingsError(f"{name}:{shown} does not fit ({error})") from None


def _without_secrets(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if name.endswith(("_key", "_secret")):
        return "***"
    return _SECRET_IN_QUERY.sub(r"\1***", _USER_IN_URL.sub("***", value))


def _is_safe(url: str) -> bool:
    """Whether nobody on the way can change what this URL leads to."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"})
