"""Decides whether two requests ask for the same turn, and gives each worker process its name."""

import hashlib
import os
import secrets
import socket
from typing import Any

from turnwire.shared import strictjson
from turnwire.shared.content import Content
from turnwire.shared.keys import TurnKey


def canonical_json(value: Any) -> bytes:
    """Return the value as JSON with sorted keys, without white space, in UTF-8. Equal values give equal bytes.

    Raises:
        TypeError, ValueError: `value` holds something that JSON cannot represent.
    """
    return strictjson.encode_sorted(value)


def input_hash(
    key: TurnKey,
    *,
    message: Content,
    project: str | None,
    domain: str | None,
    model: str | None,
    parent: int | None = None,
    options: dict[str, Any] | None = None,
) -> str:
    """Return the sha256 digest (hex) of everything that a turn's answer depends on.

    An absent value counts as null, so a request that adds a value has another hash. `parent` and `options`
    came later to the protocol, so they are left out if they are absent: the turns that were stored before keep their
    hash. The user, the metadata and the `on_…` choices do not change the answer, so they are not hashed.
    """
    identity: dict[str, Any] = {
        "tenant": key.session.tenant,
        "session": key.session.session,
        "index": key.index,
        "project": project,
        "domain": domain,
        "message": message,
        "model": model,
    }
    if parent is not None:
        identity["parent"] = parent
    if options is not None:
        identity["options"] = options
    if options is not None or not isinstance(message, str):  # nothing else can hold a number that JSON has no form for
        return hashlib.sha256(canonical_json(identity)).hexdigest()
    return hashlib.sha256(strictjson.SORTED.encode(identity)).hexdigest()


def user_digest(tenant: str, user: str) -> str:
    """Return 32 hex digits that stand for a user where nobody may be named: in keys and in the audit stream."""
    return hashlib.sha256(f"{tenant}\0{user}".encode()).hexdigest()[:32]


def worker_id() -> str:
    """Return a new name for this process that an operator can read: `<host>/<pid>/<6 random hex digits>`."""
    host = "".join(c if c.isalnum() or c in ".-_" else "-" for c in socket.gethostname())[:64]
    return f"{host or 'host'}/{os.getpid()}/{secrets.token_hex(3)}"
