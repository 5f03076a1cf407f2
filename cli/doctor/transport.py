"""Whether others on the way can read what goes to the server, and whether the server asks for a password."""

import ipaddress
import ssl
import time
from typing import Any, Final
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from turnwire.cli.doctor.findings import Finding, fail, ok, warn
from turnwire.cli.doctor.server import Server

DAY_S: Final = 86_400
SOON_DAYS: Final = 30


def check_transport(server: Server) -> list[Finding]:
    """TLS, the server's certificate, and the password."""
    is_here = server.scheme == "unix" or _is_here(server)
    if server.scheme.startswith("rediss"):
        found = _tls(server)
    else:
        found = [ok("transport", "the server is on this machine")] if is_here else [_plain()]
    if not is_here and urlsplit(server.url).password is None:
        means = "everybody who reaches it reads and changes every turn"
        fix = "redis-cli CONFIG SET requirepass <password>, or users of their own: docs/how-to/deploying.md"
        found.append(fail("transport", "the server asks for no password", means, fix))
    return found


def _plain() -> Finding:
    means = "everybody on the way reads the password, the messages and the answers, and can change them"
    return warn("transport", "the connection is not encrypted", means, "use rediss://, or a private network")


def _tls(server: Server) -> list[Finding]:
    if server.options.get("ssl_cert_reqs") == ["none"] or server.options.get("ssl_check_hostname") == ["false"]:
        means = "anybody on the way can pass for the server"
        return [
            warn("transport", "the certificate is not checked", means, "leave ssl_cert_reqs and ssl_check_hostname out")
        ]
    version, ends_s = _certificate(server.redis)
    if ends_s is None:
        return [ok("transport", f"{version or 'TLS'}")]
    days = int((ends_s - time.time()) // DAY_S)
    text = f"{version}; the certificate is valid for {days} more days"
    if days < SOON_DAYS:
        return [warn("transport", text, "when it ends, no process connects any more", "renew the certificate")]
    return [ok("transport", text)]


def _certificate(redis: Any) -> tuple[str | None, float | None]:
    """Return the version of TLS, and when the certificate ends, in seconds since 1970."""
    pool = redis.connection_pool
    connection = pool.get_connection()
    try:
        socket = connection._sock  # noqa: SLF001 - redis-py has no other way to the certificate
        certificate = socket.getpeercert() or {}
        ends = certificate.get("notAfter")
        return socket.version(), ssl.cert_time_to_seconds(ends) if ends else None
    except (RedisError, OSError, AttributeError):
        return None, None
    finally:
        pool.release(connection)


def _is_here(server: Server) -> bool:
    host = server.redis.connection_pool.connection_kwargs.get("host") or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
