"""pip is downloaded where there is none: from the configured index, and only with the right hash."""

import base64
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stack import pip_settings, pip_wheel
from stack.pip_settings import DEFAULT_INDEX, SettingsFileError, index_url
from stack.pip_wheel import NAME, DownloadError, fetch

WHEEL = b"a wheel of pip"
JSON, HTML = "application/vnd.pypi.simple.v1+json", "text/html; charset=utf-8"


class Index(ThreadingHTTPServer):
    """A package index on the loopback interface. `answers` maps a path to the media type and the content."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.answers = {f"/files/{NAME}": ("application/octet-stream", WHEEL)}
        self.asked: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/simple"

    def offer(self, kind: str, page: str) -> None:
        self.answers["/simple/pip/"] = (kind, page.encode())


class Answer(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        kind, content = self.server.answers.get(self.path, (None, b""))
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(monkeypatch) -> Iterator[Index]:
    with Index() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("PIP_INDEX_URL", server.url)
        server.offer(JSON, json.dumps({"files": [{"filename": NAME, "url": f"../../files/{NAME}"}]}))
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def right(monkeypatch):
    monkeypatch.setattr(pip_wheel, "SHA256", hashlib.sha256(WHEEL).hexdigest())


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Return a folder that has pip's configuration files, as on a machine without any settings."""
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_CERT", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    places = [tmp_path / "machine.conf", tmp_path / "user.conf"]
    monkeypatch.setattr(pip_settings, "configuration_files", lambda: places)
    return places


@pytest.mark.parametrize(
    ("kind", "page"),
    [
        (JSON, json.dumps({"files": [{"filename": NAME, "url": f"/files/{NAME}"}]})),
        (HTML, f'<html><a href="pip-1.0.tar.gz">old</a><a href="../../files/{NAME}#sha256=ab">pip</a></html>'),
    ],
    ids=["json", "html"],
)
def test_the_wheel_is_found_in_both_kinds_of_page_and_is_kept(index, right, tmp_path, kind, page):
    index.offer(kind, page)
    assert fetch(tmp_path).read_bytes() == WHEEL
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    asked = len(index.asked)
    assert fetch(tmp_path) == tmp_path / NAME
    assert len(index.asked) == asked, "downloaded twice"


def test_a_wheel_with_a_wrong_hash_is_not_used(index, tmp_path):
    with pytest.raises(DownloadError, match=f"should have {pip_wheel.SHA256}; it is not used"):
        fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_kept_wheel_with_a_wrong_hash_is_replaced(index, right, tmp_path):
    (tmp_path / NAME).write_bytes(b"cut off")
    assert fetch(tmp_path).read_bytes() == WHEEL


def test_an_index_without_that_pip_is_named(index, tmp_path):
    index.offer(HTML, "<a href='pip-1.0.tar.gz'>pip-1.0.tar.gz</a>")
    with pytest.raises(DownloadError, match=f"{index.url} does not have {NAME}"):
        fetch(tmp_path)


def test_an_index_without_the_page_is_named(index, tmp_path):
    index.answers.clear()
    with pytest.raises(DownloadError, match=f"{index.url}/pip/ answered 404"):
        fetch(tmp_path)


@pytest.mark.parametrize("page", ["{}", "no json", '{"files": [1]}'])
def test_a_page_that_is_not_an_index_page_is_an_error(index, tmp_path, page):
    index.offer(JSON, page)
    with pytest.raises(DownloadError, match="is not a page of a package index"):
        fetch(tmp_path)


def test_an_address_where_nothing_listens_is_an_error(index, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    with pytest.raises(DownloadError, match=r"cannot read http://127.0.0.1:1/simple/pip/: .*refused"):
        fetch(tmp_path)


def test_a_password_goes_to_the_index_and_into_no_message(index, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//anna:s%40cret@"))
    with pytest.raises(DownloadError) as error:
        fetch(tmp_path)
    token = base64.b64encode(b"anna:s@cret").decode()
    assert index.asked == [("/simple/pip/", f"Basic {token}"), (f"/files/{NAME}", f"Basic {token}")]
    assert "cret" not in str(error.value)


def test_a_folder_may_be_the_index(right, tmp_path, monkeypatch):
    page = tmp_path / "simple" / "pip" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f"<a href='{NAME}'>{NAME}</a>")
    (page.parent / NAME).write_bytes(WHEEL)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    assert fetch(tmp_path / "kept").read_bytes() == WHEEL


def test_without_any_setting_the_public_index_is_used(files):
    assert index_url() == DEFAULT_INDEX


def test_the_environment_wins_over_files_and_the_user_over_the_machine(files, monkeypatch):
    machine, user = files
    machine.write_text("[global]\nindex-url = http://machine/simple\n")
    assert index_url() == "http://machine/simple"
    user.write_text("[global]\nindex_url = http://user/simple\n[install]\nindex-url = http://install/simple\n")
    assert index_url() == "http://install/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "ours=http://uv/simple?a=b")
    assert index_url() == "http://uv/simple?a=b"
    monkeypatch.setenv("PIP_INDEX_URL", "http://pip/simple")
    assert index_url() == "http://pip/simple"


def test_a_broken_configuration_file_is_named(files, tmp_path):
    files[0].write_text("index-url = no section\n")
    with pytest.raises(SettingsFileError, match=r"machine\.conf"):
        index_url()
    with pytest.raises(DownloadError, match=r"machine\.conf"):
        fetch(tmp_path)


def test_the_places_of_the_files_are_those_of_pip(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/x/.config")
    monkeypatch.setenv("XDG_CONFIG_DIRS", "/etc/xdg")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/own.conf")
    places = [str(path) for path in pip_settings.configuration_files()]
    assert places[:3] == ["/etc/xdg/pip/pip.conf", "/etc/pip.conf", "/home/x/.pip/pip.conf"]
    assert places[3:] == ["/home/x/.config/pip/pip.conf", f"{sys.prefix}/pip.conf", "/own.conf"]
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    assert pip_settings.configuration_files() == []


def test_certificates_that_are_not_there_are_named(files, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "no.pem"))
    with pytest.raises(SettingsFileError, match=r"no\.pem"):
        pip_settings.certificates()
