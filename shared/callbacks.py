"""Decides which URLs may be told of a turn: those of the hosts that an operator allows, at public addresses only.

The API checks the URL when a turn is asked, so that its client hears what is wrong. A worker checks it again before it
connects, together with the address that the name leads to at that moment.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, urlsplit

from turnwire.shared.errors import InvalidInput, SettingsError
from turnwire.shared.settings import Settings

MAX_URL_CHARACTERS: Final = 2048

_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?\Z|\[[0-9a-f:.]+\](:[0-9]{1,5})?\Z")
_PORTS: Final = {"https": 443, "http": 80}
_TRANSLATED = ip_network("64:ff9b::/96")  # an IPv4 address is in its last 32 bits, and a gateway leads there


class CallbackError(Exception):
    """The server was not told. The message says why. `status`: of its answer; None: there was none."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class CallbackHosts:
    """The hosts of TURNWIRE_CALLBACK_HOSTS. `*.example.com` stands for every host below `example.com`.

    A host without a port is allowed at the default port of its scheme only.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises:
        SettingsError: an entry is not a host.
        """
        self._private = settings.callback_private
        entries = [entry.strip().lower() for entry in (settings.callback_hosts or "").split(",")]
        self._hosts = [entry for entry in entries if entry]
        for host in self._hosts:
            if not _HOST.match(host):
                raise SettingsError(f"TURNWIRE_CALLBACK_HOSTS: {host[:80]!r} is not a host, as *.example.com")

    def check(self, url: str) -> SplitResult:
        """Return the parts of a URL that may be told.

        Raises:
            InvalidInput: it may not. The message says why.
        """
        if not self._hosts:
            raise InvalidInput("callback: this server makes no callbacks")
        if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise InvalidInput("callback: this is not a URL")
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            raise InvalidInput("callback: this is not a URL") from None
        if parts.scheme != "https" and not (self._private and parts.scheme == "http"):
            raise InvalidInput("callback: the URL must begin with https://")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise InvalidInput("callback: the URL must have neither a user nor a fragment")
        if not self._is_allowed(_name(parts), port, _PORTS[parts.scheme]):
            raise InvalidInput("callback: this host may not be told (TURNWIRE_CALLBACK_HOSTS)")
        return parts

    def permits(self, address: str) -> bool:
        """Whether a worker may connect to this IP address."""
        return self._private or is_public(address)

    def _is_allowed(self, name: str, port: int | None, default_port: int) -> bool:
        for entry in self._hosts:
            host, _, own_port = entry.rpartition(":") if re.search(r":[0-9]+\Z", entry) else (entry, "", "")
            fits = name.endswith(host[1:]) and len(name) > len(host) - 1 if host.startswith("*.") else name == host
            if fits and port == (int(own_port) if own_port else default_port):
                return True
        return False


def is_public(address: str) -> bool:
    """Whether an IP address belongs to no private network, to no single machine and to no group of machines."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        inner = _inner(ip)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _inner(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, or leads to through a tunnel."""
    if ip in _TRANSLATED:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


def _name(parts: SplitResult) -> str:
    name = (parts.hostname or "").lower()
    return f"[{name}]" if ":" in name else name
