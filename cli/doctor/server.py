"""The connection to one Redis server, and what the server says of itself."""

import ssl
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from redis import Redis
from redis.exceptions import RedisError, ResponseError
from redis.sentinel import MasterNotFoundError, Sentinel

from turnwire.cli.doctor.findings import Finding, fail, ok
from turnwire.shared.errors import SettingsError
from turnwire.shared.store.sentinel_url import SentinelUrl
from turnwire.shared.store.url import check_url

WITHIN_S: Final = 5.0
_ASKED: Final = (
    "appendfsync",
    "maxclients",
    "min-replicas-*",
    "repl-backlog-size",
    "stop-writes-on-bgsave-error",
    "save",
)
_OPTIONS: Final[dict[str, Any]] = {
    "decode_responses": True, "encoding_errors": "replace", "protocol": 2, "socket_timeout": WITHIN_S,
    "socket_connect_timeout": WITHIN_S,
}  # fmt: skip


@dataclass
class Server:
    """A server that answers. `info`, `config`: what it says; empty if it may not be asked."""

    url: str
    redis: Any
    info: dict[str, Any] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    names_sentinels: bool = False

    @property
    def scheme(self) -> str:
        """`redis`, `rediss`, `unix`, or one of the first two with `+sentinel`."""
        return urlsplit(self.url).scheme

    @property
    def options(self) -> dict[str, list[str]]:
        """The options in the query of the URL."""
        return parse_qs(urlsplit(self.url).query)

    def number(self, name: str, default: int = 0) -> int:
        """Return a number of INFO; the default if it is not there."""
        try:
            return int(self.info.get(name, default))
        except (TypeError, ValueError):
            return default


def connect(url: str) -> tuple[Server | None, list[Finding]]:
    """Connect to the server, or to the primary that the Sentinels of the URL name. Returns no server if that fails.

    Raises:
        SettingsError: the URL cannot be read.
    """
    check_url(url)
    try:
        sentinels = SentinelUrl.read(url)
        found, findings = _by_sentinels(sentinels) if sentinels else (_client(url), [])
        if found is None:
            return None, findings
        found.ping()
    except (ValueError, TypeError) as error:
        raise SettingsError("not a Redis URL, or an unknown option in it") from error
    except (RedisError, OSError) as error:
        means = "no API accepts turns, and no worker runs them"
        return None, [fail("connection", f"the server does not answer: {error}", means, _cure(error))]
    server = Server(url, found, names_sentinels=sentinels is not None)
    server.info, server.config = _info(found), _config(found)
    return server, [*findings, ok("connection", "the server answers")]


def _client(url: str, **place: Any) -> Any:
    parts = urlsplit(url)
    options = dict(_OPTIONS)
    if parts.scheme == "rediss" and parse_qs(parts.query).get("ssl_cert_reqs") != ["none"]:
        options["ssl_check_hostname"] = True  # as Turnwire does, unless the URL says otherwise
    return Redis.from_url(url, **options, **place)


def _by_sentinels(url: SentinelUrl) -> tuple[Any, list[Finding]]:
    secure = urlsplit(url.plain).scheme == "rediss"
    own = {"username": url.username, "password": url.password, "ssl": secure, "socket_timeout": WITHIN_S}
    make: Any = Sentinel  # redis-py does not annotate it
    sentinel = make(list(url.hosts), sentinel_kwargs={key: value for key, value in own.items() if value})
    answered = 0
    for each in sentinel.sentinels:
        try:
            each.ping()
        except (RedisError, OSError):
            continue
        answered += 1
    text = f"{answered} of {len(url.hosts)} Sentinels answer"
    try:
        host, port = sentinel.discover_master(url.service)
    except (MasterNotFoundError, RedisError, OSError) as error:
        means = "no process finds the primary"
        return None, [
            fail(
                "sentinels",
                f"{text}, and none names the primary: {error}",
                means,
                "redis-cli -p 26379 SENTINEL MASTERS",
            )
        ]
    client = _client(url.plain, host=host, port=port)
    if answered < len(url.hosts):
        means = "a failover needs the majority of the Sentinels"
        return client, [fail("sentinels", text, means, "start the Sentinels that do not answer")]
    return client, [ok("sentinels", f"{text}; the primary is {host} port {port}")]


def _cure(error: Exception) -> str:
    text = str(error)
    if "NOAUTH" in text or "WRONGPASS" in text or "Authentication" in text:
        return "put user and password into the URL: redis://user:password@host:6379/0"
    if isinstance(error.__cause__, ssl.SSLError) or "SSL" in text or "certificate" in text.lower():
        return "name your certificate authority in the URL: ?ssl_ca_certs=/path/to/ca.pem"
    return "start the server, or set the variable to its URL"


def _info(redis: Any) -> dict[str, Any]:
    try:
        info: dict[str, Any] = redis.info()
    except ResponseError:
        return {}
    return info


def _config(redis: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        for pattern in _ASKED:
            found |= redis.config_get(pattern)
    except ResponseError:  # often it is not permitted
        return {}
    return found
