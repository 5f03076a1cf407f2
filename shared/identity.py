"""What makes two requests the same, and what names a worker."""

import hashlib
import os
import secrets
import socket
from typing import Any

from turnwire.shared import strictjson
from turnwire.shared.keys import TurnKey


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, no white space, UTF-8: equal values give equal bytes.

    Raises:
        TypeError: `value` holds something that JSON has no form for.
    """
    return strictjson.encode_sorted(value)


def input_hash(key: TurnKey, *, message: str, project: str | None, domain: str | None, model: str | None) -> str:
    """sha256, hex, of what a turn answers. Absent values count as null, so adding one is another input.

    User, metadata and the `on_…` choices are not part of it: they do not change the answer.
    """
    identity = {
        "tenant": key.session.tenant,
        "session": key.session.session,
        "index": key.index,
        "project": project,
        "domain": domain,
        "message": message,
        "model": model,
    }
    return hashlib.sha256(canonical_json(identity)).hexdigest()


def worker_id() -> str:
    """A name for this process that an operator can read: `<host>/<pid>/<6 hex digits>`, fresh at every call."""
    host = "".join(c if c.isalnum() or c in ".-_" else "-" for c in socket.gethostname())[:64]
    return f"{host or 'host'}/{os.getpid()}/{secrets.token_hex(3)}"
