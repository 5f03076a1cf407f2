"""The log of a process: lines on standard error, without secrets.

Exceptions of a product and of the libraries that it uses name passwords, keys and tokens, and their texts belong into
the log. So each line is searched for what looks like a secret, and for the secrets of the settings.
"""

import logging
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from turnwire.shared.log_context import ContextFilter, fields_of
from turnwire.shared.settings import Settings

HIDDEN: Final = "***"
MOST_CHARACTERS: Final = 8192  # of a message, and of a traceback
_SHORTEST: Final = 6  # a shorter value of the settings would also hide parts of ordinary words
_read_later: Final[set[str]] = set()  # secrets that were not in the settings when the log began

_SECRET_NAMES: Final = ("password", "key", "token", "secret", "sig", "signature")  # ends of names in a URL's query

_FORMS: Final = (
    (re.compile(r"(?<=://)[^/\s@]*(?=@)"), HIDDEN),  # user and password of a URL
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (
        re.compile(
            r"""((?:password|passwd|pwd|secret|token|credentials?|api[_-]?key|access[_-]?key)["']?\s*[=:]\s*["']?)"""
            r"""[^\s"'&,;(){}\[\]<>]+""",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b(?:sk|pk|rk|ghp|gho|ghs|glpat|xox[abpr]|AKIA|ASIA|AIza)[-_]?[A-Za-z0-9_*-]{12,}"), HIDDEN),
    (re.compile(r"(?<=[?&])((?:[\w-]*key|sig|signature)=)[^\s&#\"']+", re.IGNORECASE), rf"\1{HIDDEN}"),  # in a query
    (re.compile(r"\btw_[A-Za-z0-9_-]{16,}"), HIDDEN),  # an API key of this service
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), HIDDEN),  # a JSON web token
)


class Scrubber(logging.Formatter):
    """Formats a record, with its fields and its traceback. It hides what is a secret or looks like one.

    What is longer than a line may be is cut: of a message the end, and of a traceback the middle.
    """

    def __init__(self, form: str, secrets: Iterable[str] = ()) -> None:
        super().__init__(form)
        self._secrets = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        return self.scrubbed(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of the base class
        line = _without_end(super().formatMessage(record))
        fields = " ".join(f"{name}={value}" for name, value in fields_of(record).items())
        return f"{line} [{fields}]" if fields else line

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return _without_middle(super().formatException(ei))

    def scrubbed(self, text: str) -> str:
        """The text without secrets."""
        for secret in (*self._secrets, *_read_later):
            text = text.replace(secret, HIDDEN)
        for form, replacement in _FORMS:
            text = form.sub(replacement, text)
        return text


class JsonScrubber(Scrubber):
    """Formats a record as one line of JSON. Each text is scrubbed before, so that the line stays JSON."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {
            "time": at,
            "level": record.levelname,
            "logger": record.name,
            "message": self._text(_without_end(record.getMessage())),
        }
        line |= {
            name: self._text(value) if isinstance(value, str) else value for name, value in fields_of(record).items()
        }
        if record.exc_info:
            line["exception"] = self._text(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = self._text(_without_middle(record.stack_info))
        return msgspec.json.encode(line).decode()

    def _text(self, text: str) -> str:
        """The text without secrets, and without halves of surrogate pairs, which JSON does not know."""
        return self.scrubbed(text).encode("utf-8", "backslashreplace").decode()


def log_to_stderr(settings: Settings) -> None:
    """Let the root logger write to standard error, at the level and in the format of the settings."""
    handler = logging.StreamHandler()
    kind = JsonScrubber if settings.log_format == "json" else Scrubber
    handler.setFormatter(kind("%(asctime)s %(levelname)s %(name)s: %(message)s", _secrets_of(settings)))
    handler.addFilter(ContextFilter())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs the URL of every request, which may hold a key
    # Python itself would write these two to standard error as they are.
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda failed: _log_uncaught(failed.exc_type, failed.exc_value, failed.exc_traceback)


def hide(secret: str) -> None:
    """Hide a secret from now on that the process has read from a file, or from a variable that is not ours."""
    if len(secret) >= _SHORTEST:
        _read_later.add(secret)


def without_secrets(text: str, environ: Mapping[str, str]) -> str:
    """Return a text for standard error without secrets. It is for a process that has no log yet.

    The values of variables that hold secrets, or URLs with passwords, are hidden, too.
    """
    ours = {name: value for name, value in environ.items() if name.startswith("TURNWIRE_")}
    whole = [value for name, value in ours.items() if name.endswith(("KEY", "SECRET"))]
    secrets = [*whole, *(part for value in whole for part in value.split())]
    urls = [value for name, value in environ.items() if name.startswith("TURNWIRE_") and "://" in value]
    return Scrubber("", [*secrets, *(secret for url in urls for secret in _passwords(url))]).scrubbed(text)


def _without_end(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}… ({len(text) - MOST_CHARACTERS} more)"


def _without_middle(text: str) -> str:
    """The first lines of a traceback say where it began, and the last ones what went wrong."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]}\n… ({len(text) - 2 * half} characters are left out)\n{text[-half:]}"


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
        logging.getLogger(__name__).critical("an exception was not caught", exc_info=(kind, error, trace))


def _secrets_of(settings: Settings) -> Iterable[str]:
    if settings.llm_api_key:
        yield settings.llm_api_key
    yield from f"{settings.token_secret or ''} {settings.jwt_secret or ''}".split()
    for url in (settings.redis_url, settings.queue_url, settings.llm_base_url or ""):
        yield from _passwords(url)


def _passwords(url: str) -> Iterable[str]:
    """The passwords of a URL, as they are written there and as they are meant."""
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:  # it is no URL, and is refused elsewhere
        return
    if password:
        yield password
        yield unquote(password)
    for name, values in parse_qs(parts.query).items():
        if name.lower().endswith(_SECRET_NAMES):
            yield from values
