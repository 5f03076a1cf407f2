"""Records the calls that the product got, and decides when its producers continue. It runs in the test's process."""

import json
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

LIMIT_S = 20.0


class Recorder:
    """A context manager around a small HTTP server. The product finds it at `url`."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._changed = threading.Condition()
        self._calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._held: set[str] = set()
        self._released: set[str] = set()
        self._closed = False
        self._server = _Server((host, port), _handler(self))
        self.url = f"http://{host}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def calls(self, run_id: str, hook: str | None = None) -> list[dict[str, Any]]:
        """Return the calls that the product got for this turn so far, in order."""
        with self._changed:
            return [call for call in self._calls[run_id] if hook in (None, call["hook"])]

    def hooks(self, run_id: str) -> list[str]:
        """Return the names of the hooks that were called for this turn so far, without on_event."""
        return [call["hook"] for call in self.calls(run_id) if call["hook"] != "on_event"]

    def wait_call(self, run_id: str, hook: str, count: int = 1) -> None:
        """Wait until this hook of this turn was called `count` times."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: self._count(run_id, hook) >= count, LIMIT_S)
        assert arrived, (
            f"{run_id}: {hook} was called {self._count(run_id, hook)} of {count} times: {self._calls[run_id]}"
        )

    def wait_held(self, name: str) -> None:
        """Wait until a producer waits at this hold."""
        with self._changed:
            assert self._changed.wait_for(lambda: name in self._held, LIMIT_S), f"no producer came to the hold {name}"

    def release(self, name: str) -> None:
        """Release all producers that wait at this hold, now or later."""
        with self._changed:
            self._released.add(name)
            self._changed.notify_all()

    def record(self, call: dict[str, Any]) -> None:
        with self._changed:
            self._calls[call["run_id"]].append(call)
            self._changed.notify_all()

    def hold(self, name: str) -> None:
        with self._changed:
            self._held.add(name)
            self._changed.notify_all()
            self._changed.wait_for(lambda: name in self._released or self._closed)

    def _count(self, run_id: str, hook: str) -> int:
        return sum(call["hook"] == hook for call in self._calls[run_id])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


def _handler(recorder: Recorder) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.path.startswith("/hold/"):
                recorder.hold(self.path.removeprefix("/hold/"))
            else:
                recorder.record(json.loads(body))
            try:
                self.send_response(204)
                self.end_headers()
            except OSError:
                self.close_connection = True  # the producer was cancelled while it waited

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Write no log, because nobody reads it."""

    return Handler
