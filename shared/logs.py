"""The log of a process: lines on standard error, without secrets.

Exceptions of a product and of the libraries that it uses name passwords, keys and tokens, and their texts belong into
the log. So each line is searched for what looks like a secret, and for the secrets of the settings.
"""

import logging
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from turnwire.shared.settings import Settings

HIDDEN: Final = "***"
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
    """Formats a record, with its traceback, and hides what is a secret or looks like one."""

    def __init__(self, form: str, secrets: Iterable[str] = ()) -> None:
        super().__init__(form)
        self._secrets = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        return self.scrubbed(super().format(record))

    def scrubbed(self, text: str) -> str:
        """The text without secrets."""
        for secret in (*self._secrets, *_read_later):
            text = text.replace(secret, HIDDEN)
        for form, replacement in _FORMS:
            text = form.sub(replacement, text)
        return text


def log_to_stderr(settings: Settings) -> None:
    """Let the root logger write to standard error at the level of the settings."""
    handler = logging.StreamHandler()
    handler.setFormatter(Scrubber("%(asctime)s %(levelname)s %(name)s: %(message)s", _secrets_of(settings)))
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
