"""Finds out the address of the client, which a proxy before this server knows and this server cannot see.

Every client can send the headers in which proxies write the address. So they are read only if the connection comes from
a proxy that the operator trusts, and only as far back as the addresses in them are those of trusted proxies, too.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from turnwire.shared.errors import SettingsError

UNKNOWN: Final = "unknown"


class TrustedProxies:
    """The proxies of `TURNWIRE_TRUSTED_PROXIES`: addresses and networks with commas between them; None: no proxy."""

    def __init__(self, setting: str | None = None) -> None:
        """Raises:
        SettingsError: the setting names something else.
        """
        parts = [part.strip() for part in (setting or "").split(",") if part.strip()]
        self._local = "unix" in parts
        self._networks: list[IPv4Network | IPv6Network] = []
        for part in parts:
            try:
                if part != "unix":
                    self._networks.append(ip_network(part))
            except ValueError as error:
                raise SettingsError(
                    f"TURNWIRE_TRUSTED_PROXIES: {part[:80]!r} is no address or network: {error}"
                ) from None

    def client(self, peer: str | None, request: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the address of the client, or `unknown` if a trusted proxy does not tell it.

        Args:
            peer: the address from which the connection comes; None for a connection that has none, as a Unix socket.
            request: the headers of the request, their names in lower case.
        """
        if not self.named or not self.trusts(peer):
            return peer or UNKNOWN
        for address in reversed(_hops(request)):
            if not self.trusts(address):
                return address or UNKNOWN
            peer = address
        return peer or UNKNOWN

    @property
    def named(self) -> bool:
        """Whether the setting names any proxy."""
        return bool(self._networks) or self._local

    def trusts(self, address: str | None) -> bool:
        """Whether this is the address of a trusted proxy. None: a connection without one, as of a Unix socket."""
        if address is None:
            return self._local
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(_plain(found) in network for network in self._networks)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address that is written as one of IPv6 is the IPv4 address."""
    return getattr(address, "ipv4_mapped", None) or address


def _hops(request: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The addresses that the proxies wrote down, the first client first; '' for one that is hidden or no address.

    Each proxy appends to the header that it knows. If a request has both headers, one of them is the client's own, and
    nobody can tell which one. Then neither says anything.
    """
    lines: dict[bytes, list[str]] = {b"x-forwarded-for": [], b"forwarded": []}
    for name, value in request:
        if name in lines:
            lines[name] += value.decode("latin-1").split(",")
    if lines[b"x-forwarded-for"] and lines[b"forwarded"]:
        return [""]
    return [_address(part) for part in lines[b"x-forwarded-for"]] + [
        _address(_for(part)) for part in lines[b"forwarded"]
    ]


def _for(element: str) -> str:
    for pair in element.split(";"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == "for":
            return value
    return ""


def _address(text: str) -> str:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80` or one of these in quotes."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(_plain(ip_address(text)))
    except ValueError:
        return ""
