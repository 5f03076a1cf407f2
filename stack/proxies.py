"""The proxies of deploy/, with their files as they are but for ports and certificates, for tests and benchmarks."""

import re
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stack.cluster import ROOT
from stack.network import free_port

SITE: Final = "chat.example.com"
STOP_S: Final = 2.0


def nginx(text: str, folder: Path, port: int) -> tuple[str, list[str]]:
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{name}_temp_path {folder}/{name};" for name in temporary)
    text = text.replace("http {", f"http {{ access_log off; {places}", 1)
    main = f"daemon off; pid {folder}/pid; error_log {folder}/error.log;"
    return text.replace("listen 443", f"listen 127.0.0.1:{port}"), ["-p", str(folder), "-g", main, "-c"]


def haproxy(text: str, _: Path, port: int) -> tuple[str, list[str]]:
    return text.replace("bind :443", f"bind 127.0.0.1:{port}"), ["-db", "-f"]


def caddy(text: str, _: Path, port: int) -> tuple[str, list[str]]:
    if subprocess.check_output(["caddy", "version"], text=True).lstrip("v").startswith("2.6.2"):  # that of Debian 12
        text = text.replace("request_buffers 1MiB", "buffer_requests")
    everywhere = "{\n\tadmin off\n\tauto_https disable_redirects\n}"
    site = f"{SITE}:{port} {{\n\ttls /etc/ssl/turnwire.pem /etc/ssl/turnwire.key\n\tbind 127.0.0.1"
    text = text.replace(f"{{$SITE:{SITE}}} {{", f"{everywhere}\n{site}", 1)
    return text, ["run", "--adapter", "caddyfile", "--config"]


PROXIES: Final = {
    "nginx.conf": nginx, "haproxy.cfg": haproxy, "Caddyfile": caddy,
}  # fmt: skip


# how each file shows the API below a path, as docs/how-to/deploying.md says: what to replace, and by what
BELOW_PATH: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "nginx.conf": (
        ("location /v1/admin/", "location {path}/v1/admin/"),
        ("location / {", "location {path}/ {"),
        ("proxy_pass http://turnwire;", "rewrite ^{path}(/.*)$ $1 break;\n            proxy_pass http://turnwire;"),
    ),
    "haproxy.cfg": (
        ("path_beg /v1/admin/", "path_beg {path}/v1/admin/"),
        ("default_backend api", "http-request replace-path {path}(/.*) \\1\n    default_backend api"),
    ),
    "Caddyfile": (
        # The refusal stands inside, because Caddy looks at handle_path before it looks at respond.
        ("respond /v1/admin/*", "handle_path {path}/* {\n\trespond /v1/admin/*"),
        ("\n\t}\n}", "\n\t}\n\t}\n}"),
    ),
}


# how each file names its servers: the place in it, and what to write there
SERVERS: Final[dict[str, Callable[[Sequence[str]], tuple[str, str]]]] = {
    "nginx.conf": lambda apis: (r"server 127\.0\.0\.1:8000 (.*);", "".join(rf"server {api} \1;" for api in apis)),
    "haproxy.cfg": lambda apis: (
        r"( *)server a 127\.0\.0\.1:8000 (.*)",
        "\n".join(rf"\1server s{number} {api} \2" for number, api in enumerate(apis)),
    ),
    "Caddyfile": lambda apis: (r"\{\$APIS:127\.0\.0\.1:8000\}", " ".join(apis)),
}


class ProgramMissing(Exception):
    """The program of this proxy, or openssl, is not on this machine."""


def certificate_in(folder: Path) -> Path:
    """Make turnwire.key, and turnwire.pem, which holds the certificate and the key, as HAProxy wants it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise ProgramMissing("needs openssl")
    key, made = folder / "turnwire.key", folder / "turnwire.pem"
    options = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={SITE} -addext subjectAltName=DNS:{SITE}"
    subprocess.run([openssl, *options.split(), "-keyout", key, "-out", made], check=True, capture_output=True)
    made.write_text(made.read_text() + key.read_text())
    return folder


def trusting() -> ssl.SSLContext:
    """Return a context that checks no certificate, because the proxies have one of their own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def running(name: str, folder: Path, apis: Sequence[str], certificate: Path, path: str = "") -> Iterator[int]:
    """The proxy before these APIs; its port. `path`: below which path the API is shown, such as `/chat`."""
    program = shutil.which(PROXIES[name].__name__, path="/usr/sbin:/usr/local/bin:/usr/bin:/bin")
    if program is None:
        raise ProgramMissing(f"needs the program of {name}")
    port = free_port()
    text = (ROOT / "deploy" / name).read_text(encoding="utf-8")
    text = re.sub(*SERVERS[name](apis), text)
    for plain, below in BELOW_PATH[name] if path else ():
        assert plain in text, plain
        text = text.replace(plain, below.replace("{path}", path))
    text, options = PROXIES[name](text, folder, port)
    (folder / name).write_text(text.replace("/etc/ssl/", f"{certificate}/"), encoding="utf-8")
    with (folder / "log").open("wb") as log:
        command = [program, *options, str(folder / name)]
        env = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
        with subprocess.Popen(command, stdout=log, stderr=log, env=env) as process:
            try:
                yield port
            finally:
                process.terminate()
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:  # it waits for its clients
                    process.kill()
