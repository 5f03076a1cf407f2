"""What every line of the log says of the turn and of the request in whose context it is written.

The fields belong to a task and to the tasks and threads that it starts, and so to the product's own code as well. They
are one object for all of these: what one of them learns, such as the next attempt, the lines of the others say, too.
"""

import logging
import re
import secrets
from contextvars import Context, ContextVar
from typing import Final

FIELDS: Final = ("run_id", "attempt", "tenant", "request_id")
Value = str | int

_context: Final[ContextVar[dict[str, Value]]] = ContextVar("turnwire.log_context")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}\Z")


def begin(**fields: Value | None) -> None:
    """Let the lines of this task, and of those that it starts, carry these fields and no others. None is left out."""
    _context.set({name: value for name, value in fields.items() if value is not None})


def learn(**fields: Value | None) -> None:
    """Let the lines of this context carry these fields as well. Outside of one, it does nothing."""
    current = _context.get(None)
    if current is not None:
        for name, value in fields.items():
            if value is not None:
                current[name] = value


def nowhere() -> Context:
    """Return a context without fields, for a task that works for everybody and not only for who has started it."""
    return Context()


def request_id_of(sent: bytes | None) -> str:
    """Return the id of a request: the one that its client sent, if that is well formed, otherwise a new one."""
    text = (sent or b"").decode("latin-1")
    return text if _REQUEST_ID.match(text) else secrets.token_hex(8)


class ContextFilter(logging.Filter):
    """Gives the fields to every record. A field that the line itself names is kept."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in _context.get({}).items():
            record.__dict__.setdefault(name, value)
        return True


def fields_of(record: logging.LogRecord) -> dict[str, Value]:
    """Return the fields of a record, in their usual order."""
    return {name: record.__dict__[name] for name in FIELDS if record.__dict__.get(name) is not None}
