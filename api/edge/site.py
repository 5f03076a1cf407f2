"""Keeps out the pages of other sites, whose browsers can reach this server although nobody else can.

Such a page cannot read an answer and cannot send `application/json`, because the browser would ask this server first.
What it can do without asking is refused here: it can use a name of its own that leads to this server, and it can send
a POST without a body.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from starlette.datastructures import Headers

from turnwire.api.edge.cors import Origins
from turnwire.api.edge.problems import ForeignPage, UnknownHost

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
PROBES: Final = frozenset({"/healthz", "/readyz"})  # they tell nothing, and are asked by address


class AllowedHosts:
    """The host names by which this server may be asked. None: by any. `*.example.com` allows every name below it."""

    def __init__(self, names: Iterable[str] | None) -> None:
        lowered = None if names is None else {name.lower() for name in names}
        self._any = lowered is None or "*" in lowered
        self._names = frozenset(name for name in lowered or () if not name.startswith("*"))
        self._endings = tuple(name[1:] for name in lowered or () if name.startswith("*."))

    def check(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raises:
        UnknownHost: the request is for another host. A request of HTTP/1.0 may name none.
        """
        if self._any or path in PROBES:
            return
        for name, value in headers:
            if name == b"host":
                host = host_name(value.decode("latin-1"))
                if host not in self._names and not host.endswith(self._endings):
                    raise UnknownHost(f"this server is not asked by the name {host[:80]} (TURNWIRE_ALLOWED_HOSTS)")


def allowed_hosts(bound_to: str, setting: str | None) -> AllowedHosts:
    """The hosts of the setting; without it any, but if only this machine can reach the server, only its own names."""
    if setting is not None:
        return AllowedHosts(name.strip() for name in setting.split(",") if name.strip())
    return AllowedHosts((*LOOPBACK, bound_to) if is_loopback(bound_to) else None)


def is_loopback(host: str) -> bool:
    """True for an address that only this machine can reach."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_name(host: str) -> str:
    """The value of Host, or the host of an Origin, without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and not port.endswith("]") else host).rstrip(".").lower()


def refuse_foreign_page(headers: Headers, allowed: Origins) -> None:
    """Raises:
    ForeignPage: a page of another site sends this request, and its origin is not allowed. A program that is no browser
        says nothing of this.
    """
    if allowed.allows(headers.get("origin", "")):
        return
    site = headers.get("sec-fetch-site")
    if site is not None:
        foreign = site not in {"same-origin", "none"}
    else:
        origin = headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2] != headers.get("host")
    if foreign:
        raise ForeignPage("a page of another site may not send this without a body of application/json")
