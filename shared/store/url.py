"""Redis URLs, read strictly: redis-py takes what it cannot read for the default, which is this machine's server."""

import re
from typing import Final
from urllib.parse import urlsplit

from turnwire.shared.errors import SettingsError

FORMS: Final = "redis://…, rediss://…, unix://… or redis+sentinel://…"


def check_url(url: str) -> None:
    """Refuse a URL that redis-py would read in part only. The text shows nothing of the URL, which may hold a password.

    Raises:
        SettingsError: the text says what is wrong.
    """
    if url.partition("://")[0].endswith("+sentinel"):
        return  # sentinel_url.py reads it
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise SettingsError(f"not a Redis URL ({FORMS}): quote special characters of the password") from None
    if parts.fragment:
        raise SettingsError("the URL has a #: quote special characters of the password")
    if parts.scheme == "unix":
        if not parts.path:
            raise SettingsError("the URL names no socket: unix:///path/to/redis.sock")
    elif parts.scheme not in {"redis", "rediss"}:
        raise SettingsError(f"not a Redis URL ({FORMS})")
    elif not host:
        raise SettingsError(f"the URL names no host: {parts.scheme}://user:password@host:port/database")
    elif not re.fullmatch(r"/?[0-9]*", parts.path, re.ASCII):
        raise SettingsError("the database of the URL must be a number: redis://host:port/0")
