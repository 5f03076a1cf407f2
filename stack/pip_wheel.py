"""Downloads one pinned wheel of pip, which makes the venvs.

The wheel comes from the package index that this machine is configured for, and is used only if its hash is right.
This module needs the standard library only: it works before anything is installed.
"""

import base64
import hashlib
import html.parser
import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from stack.pip_settings import SettingsFileError, certificates, index_url

NAME: Final = "pip-26.3-py3-none-any.whl"
SHA256: Final = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
TIMEOUT_S: Final = 30.0
ACCEPT: Final = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


class DownloadError(Exception):
    """The wheel could not be downloaded. The message says why, and what to do about it."""


def fetch(folder: Path) -> Path:
    """Returns the path of the checked wheel in `folder`; downloads it if it is not there yet.

    Raises:
        DownloadError: the index does not answer, does not have the wheel, or has another one of that name.
    """
    path = folder / NAME
    if path.exists() and sha256(path.read_bytes()) == SHA256:
        return path
    try:
        index = index_url()
        url = find(index)
        content = get(url, index)[0]
    except SettingsFileError as error:
        raise DownloadError(str(error)) from error
    if sha256(content) != SHA256:
        raise DownloadError(
            f"{NAME} from {without_password(url)} has the SHA-256 {sha256(content)}, but should have {SHA256}; "
            "it is not used"
        )
    folder.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(f".{os.getpid()}.half")
    half.write_bytes(content)
    half.rename(path)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def find(index: str) -> str:
    """Returns the URL of the wheel, read from the index's page about pip (PEP 503 or PEP 691)."""
    page = f"{index.rstrip('/')}/pip/"
    if page.startswith("file:"):
        page += "index.html"
    content, kind, base = get(page, index)
    try:
        if kind.endswith("+json"):
            links = [(str(file["filename"]), str(file["url"])) for file in json.loads(content)["files"]]
        else:
            links = Links.of(content.decode())
    except (ValueError, KeyError, TypeError) as error:
        raise DownloadError(f"{without_password(page)} is not a page of a package index ({error!r})") from error
    for name, href in links:
        if name == NAME:
            return urljoin(base, href)
    raise DownloadError(f"the package index {without_password(index)} does not have {NAME}")


class Links(html.parser.HTMLParser):
    """Collects file names and targets of all links of a page."""

    @classmethod
    def of(cls, page: str) -> list[tuple[str, str]]:
        parser = cls()
        parser.feed(page)
        return parser.found

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.found.append((unquote(urlsplit(href).path.rpartition("/")[2]), href))


def get(url: str, index: str) -> tuple[bytes, str, str]:
    """Returns the content, its media type, and the URL that it came from after redirects.

    The user name and the password of `index` are sent to its own host only.
    """
    shown = without_password(url)
    headers = {"Accept": ACCEPT, "User-Agent": "turnwire-dev"}
    request = urllib.request.Request(shown, headers=headers)  # noqa: S310 - an index may be a folder: file://
    account = urlsplit(index)
    if account.username and urlsplit(url).hostname == account.hostname:
        secret = f"{unquote(account.username)}:{unquote(account.password or '')}"
        token = base64.b64encode(secret.encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=certificates()) as answer:  # noqa: S310
            return answer.read(), answer.headers.get_content_type(), answer.geturl()
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{shown} answered {error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        hint = " (PIP_CERT names the file with your own certificates)" if isinstance(reason, ssl.SSLError) else ""
        raise DownloadError(f"cannot read {shown}: {reason}{hint}") from error


def without_password(url: str) -> str:
    """Returns the URL without user name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
