"""Reads URLs that name Sentinels instead of a Redis server.

    redis+sentinel://[user:password@]host:port,host:port,…/service[/database][?option=value…]
    rediss+sentinel://…        the same with TLS, to the Sentinels and to Redis

User and password are those of Redis. If the Sentinels ask for some, too, they stand in the options `sentinel_username`
and `sentinel_password`. All other options are those of a plain URL.
"""

from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import msgspec

SENTINEL_PORT: Final = 26379
_SCHEMES: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}


class SentinelUrl(msgspec.Struct, frozen=True):
    """What such a URL says."""

    service: str  # the name under which the Sentinels know the primary
    hosts: tuple[tuple[str, int], ...]  # of the Sentinels
    plain: str  # the URL of a server with the same user, password, database and options, but without its address
    username: str | None  # for the Sentinels
    password: str | None

    @classmethod
    def read(cls, url: str) -> "SentinelUrl | None":
        """Read a URL. Returns None for one that names a server.

        Raises:
            ValueError: it names Sentinels, but not as described above.
        """
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            return None
        user, at, hosts = parts.netloc.rpartition("@")
        service, _, database = parts.path.removeprefix("/").partition("/")
        if not service or not (database.isdecimal() or database == ""):
            raise ValueError("the URL of Sentinels needs the name of their service: …/service[/database]")
        options = dict(parse_qsl(parts.query))
        own: dict[str, Any] = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
        plain = f"{_SCHEMES[parts.scheme]}://{user}{at}/{database or 0}"
        if options:
            plain += f"?{urlencode(options)}"
        return cls(unquote(service), tuple(_address(host) for host in hosts.split(",")), plain, **own)


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path:
        raise ValueError("the URL of Sentinels needs their hosts: host:port,host:port")
    return parts.hostname, parts.port or SENTINEL_PORT
