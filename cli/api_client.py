"""Asks the API over HTTP, and turns its refusals into errors that end the command."""

import ipaddress
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlsplit

from turnwire.cli.exits import CommandError, Exit

if TYPE_CHECKING:
    import httpx

CONNECT_S: Final = 5.0
SILENCE_S: Final = 40.0  # a stream has an empty line every 15 s, so one that is silent for longer is broken
KEEPALIVE_S: Final = 15
PAGE: Final = 100
NOT_TURNWIRE: Final = "is this the URL of a Turnwire API?"


class Unreachable(CommandError):
    """No API answered, or it could not reach its store. The same request may succeed later."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(Exit.UNREACHABLE, text, hint)


class Refused(CommandError):
    """The API refused the request. `status`: of the answer. `problem`: the document that says why; may be empty."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        detail = str(problem.get("detail") or problem.get("title") or f"the API answered with status {status}")
        super().__init__(Exit.DENIED if status in {401, 403} else Exit.FAILED, detail, _hint(status, problem))
        self.status = status
        self.problem = problem


def _hint(status: int, problem: Mapping[str, Any]) -> str:
    if status == 401:
        return "set TURNWIRE_API_KEY to a key of this API, or name a file that holds one with --key-file"
    if status == 403:
        return "`turnwire info` says what your credentials may do"
    if status == 404 and problem.get("detail") == "no such path":
        return "this API does not have what the command needs; `turnwire info` shows its version"
    return "" if problem else NOT_TURNWIRE


class Api:
    """A context manager around the connections to one API."""

    def __init__(self, url: str, key: str | None) -> None:
        """Raises:
        CommandError: this is no http:// or https:// URL.
        """
        import httpx

        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise CommandError(Exit.USAGE, f"not the URL of an API: {url}", "it looks like http://127.0.0.1:8000")
        self.url = url.rstrip("/")
        self.is_encrypted = parts.scheme == "https"
        self.is_on_this_machine = _is_loopback(parts.hostname)
        self._http = httpx.Client(
            headers={"accept": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {}),
            timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
            trust_env=not self.is_on_this_machine,  # a proxy does not lead to this machine
            verify=self.is_encrypted or not self.is_on_this_machine,  # certificates take 50 ms to read
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: object) -> Any:
        """Return the JSON document at a path. A query that is None is left out."""
        return self._asked("GET", path, params=_given(query)).json()

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> "httpx.Response":
        """Send a POST, with a JSON body if there is one. Fields of the body that are None are left out."""
        json = None if body is None else _given(body)
        return self._asked("POST", path, json=json, headers=headers)

    def collected(self, path: str, name: str, limit: int, **query: object) -> dict[str, Any]:
        """Return the document of a list with the items of all its pages, but at most `limit`. `name`: of the list.

        A page may be shorter than it could be, or empty, because the API looks for what was asked in steps.
        """
        document: dict[str, Any] = {}
        items: list[Any] = []
        after: object = None
        while True:
            page = self.get(path, limit=min(limit - len(items), PAGE), after=after, **query)
            items += page[name]
            document = document or page
            after = page.get("next")
            if after is None or len(items) >= limit:
                return document | {name: items[:limit]}

    @contextmanager
    def lines(self, path: str, **query: object) -> Generator[Iterator[str]]:
        """Open a stream, and yield its lines without the empty ones."""
        with self._errors():
            asked = self._http.build_request(
                "GET",
                self.url + path,
                params=_given(query | {"keepalive": KEEPALIVE_S}),
                headers={"accept": "application/x-ndjson"},
            )
            response = self._http.send(asked, stream=True)
        try:
            if response.status_code != 200:
                with self._errors():
                    response.read()
                self._refuse(response)
            yield self._lines(response)
        finally:
            response.close()

    def _lines(self, response: "httpx.Response") -> Iterator[str]:
        rest = ""
        with self._errors():
            for text in response.iter_text():
                # Not `iter_lines`: it also ends a line at characters that JSON may hold.
                *whole, rest = (rest + text).split("\n")
                yield from filter(None, whole)

    def _asked(self, method: str, path: str, **request: Any) -> "httpx.Response":
        with self._errors():
            response = self._http.request(method, self.url + path, **request)
        self._refuse(response)
        if not _is_json(response):
            raise CommandError(Exit.FAILED, f"{self.url} does not answer with JSON", NOT_TURNWIRE)
        return response

    @contextmanager
    def _errors(self) -> Generator[None]:
        import httpx

        try:
            yield
        except httpx.InvalidURL as error:
            raise CommandError(Exit.USAGE, f"not the URL of an API: {error}") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            why = str(error) or type(error).__name__
            hint = "start one with `turnwire dev`, or say where it is with --url or TURNWIRE_URL"
            raise Unreachable(f"no API answers at {self.url}: {why}", hint) from None

    def _refuse(self, response: "httpx.Response") -> None:
        if response.is_success:
            return
        problem = response.json() if _is_json(response) else {}
        if response.status_code >= 500 and problem.get("code") != "internal":
            text = str(problem.get("detail") or f"{self.url} answers with status {response.status_code}")
            raise Unreachable(text, "" if problem else NOT_TURNWIRE)
        raise Refused(response.status_code, problem if isinstance(problem, dict) else {})


def connected(url: str, key_file: Path | None) -> Api:
    """Return the API that the options of a command name.

    Raises:
        CommandError: the URL is none, or the file with the key cannot be read.
    """
    return Api(url, _key(key_file))


def part(text: str) -> str:
    """Return a text as one part of a path."""
    return quote(text, safe="")


def turn_path(session: str, index: int) -> str:
    """Return the path of a turn."""
    return f"/v1/sessions/{part(session)}/turns/{index}"


def _key(key_file: Path | None) -> str | None:
    if key_file is None:
        key = os.environ.get("TURNWIRE_API_KEY", "")
        where = "TURNWIRE_API_KEY"
    else:
        where = str(key_file)
        try:
            key = key_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise CommandError(Exit.USAGE, f"--key-file: {where} cannot be read: {why}") from None
    key = key.strip()
    if not key:
        return None
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise CommandError(Exit.USAGE, f"{where} holds no API key: a key is one word of visible ASCII characters")
    return key


def _given(values: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _is_json(response: "httpx.Response") -> bool:
    kind = response.headers.get("content-type", "").partition(";")[0]
    return kind in {"application/json", "application/problem+json"}


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
