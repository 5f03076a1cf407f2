"""An API and a worker of a few lines. They start at once, and note in a file `order` that they were stopped."""

from pathlib import Path

ENDING = """
import os, signal, socket, sys
from urllib.parse import urlsplit

def end(*_):
    redis = urlsplit(os.environ["TURNWIRE_REDIS_URL"])
    with socket.create_connection((redis.hostname, redis.port)):  # Redis must still be there
        print(NAME, "stopped", file=open("order", "a"), flush=True)
    if not os.environ.get("TURNWIRE_HOOKS"):  # with this setting, the stand-in ignores the request to stop
        os._exit(0)

signal.signal(signal.SIGTERM, end)
"""

API = f"""
NAME = "api"
{ENDING}
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

print("api listens", file=sys.stderr, flush=True)
HTTPServer(("127.0.0.1", int(os.environ["TURNWIRE_PORT"])), Answer).serve_forever()
"""

WORKER = f"""
NAME = "worker"
{ENDING}
print("worker ready", os.getpid(), file=sys.stderr, flush=True)
while True:
    signal.pause()
"""


def write(home: Path) -> None:
    """Writes both into `home`, so that `-m api` and `-m worker` find them there."""
    (home / "api.py").write_text(API)
    (home / "worker.py").write_text(WORKER)
