"""An offline model server that keeps a bill: `python -m stack.demo.model PORT`. It speaks OpenAI's protocol.

`POST /v1/chat/completions` streams a fixed text, word by word; one word is one token. `GET /bill` returns every call so
far, also those that the client broke off.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORD_S = 0.04
PLAN = "Search the archive for leases, then explain in two sentences."
ANSWER = (
    "A lease is a key with an expiry: whoever holds it may write to the turn, and a worker that dies stops renewing "
    "it. Another worker then takes the turn over, keeps every step that is checkpointed, and asks the model only for "
    "the rest."
)
TEXTS = {"plan": PLAN, "answer": ANSWER}

bill: list[dict[str, Any]] = []
billing = threading.Lock()


class Model(BaseHTTPRequestHandler):
    """Answers with the text that the request names in the last part of its Idempotency-Key.

    If the last message is the beginning of that text, the answer is the rest of it.
    """

    def do_GET(self) -> None:
        """Answer with the bill."""
        with billing:
            body = json.dumps(bill).encode()
        self.send_response(200 if self.path == "/bill" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Answer one call of the model. It is on the bill from its first byte, as it is at real model servers."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["Idempotency-Key"]
        words, last = TEXTS[key.rpartition("/")[2]].split(" "), request["messages"][-1]
        said = len(last["content"].split(" ")) if last["role"] == "assistant" else 0
        words = words[said:]
        tokens_in = sum(len(message["content"].split()) for message in request["messages"])
        call = {"key": key, "tokens_in": tokens_in, "tokens_out": 0, "whole": False}
        with billing:
            bill.append(call)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for number, word in enumerate(words):
            self._send({"choices": [{"index": 0, "delta": {"content": f" {word}" if number or said else word}}]})
            call["tokens_out"] = number + 1
            time.sleep(WORD_S)
        usage = {"prompt_tokens": tokens_in, "completion_tokens": len(words)}
        self._send({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage})
        call["whole"] = True  # set this before the client gets the end, so that the bill is right when the client looks
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, chunk: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the standard library
        """Write no access log, because the bill has every call."""


class Server(ThreadingHTTPServer):
    """A server that reports no error if a client hangs up, as a killed worker does."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show an error, unless it is a broken connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Model).serve_forever()
