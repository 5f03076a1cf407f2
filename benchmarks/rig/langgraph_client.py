"""LangGraph's development server (`langgraph dev`, everything in its memory), and a client of its `/runs/stream`."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.rig.services import START_LIMIT_S, STOP_LIMIT_S
from benchmarks.rig.tail_client import Answer, TailClient, WrongAnswerError
from stack.cluster import bare_environment
from stack.process import Service, answers, free_port, stop_all

APP = Path(__file__).parent / "langgraph_app"
JOBS = 100  # how many runs at a time: with its default of 10 the others would wait
QUIET = {  # these settings keep it from calling other services
    "LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGGRAPH_NO_VERSION_CHECK": "true", "LANGGRAPH_METRICS_ENABLED": "false",
    "LANGSMITH_TRACING": "false", "LANGCHAIN_TRACING_V2": "false",
}  # fmt: skip


@contextmanager
def langgraph(directory: Path, python: Path) -> Iterator[str]:
    """Start the server and yield its URL. It writes files beside its configuration, so it gets a copy of it."""
    app, port = directory / "langgraph", free_port()
    shutil.copytree(APP, app)
    program = [str(python), "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--host", "127.0.0.1"]
    program += ["--port", str(port), "--n-jobs-per-worker", str(JOBS), "--server-log-level", "error"]
    own = ("LANGSMITH_", "LANGCHAIN_", "LANGGRAPH_")  # it must not use the caller's account
    environment = {name: value for name, value in bare_environment().items() if not name.startswith(own)} | QUIET
    service = Service("langgraph", program, environment, directory / "langgraph.log", cwd=app)
    service.start()
    try:
        url = f"http://127.0.0.1:{port}"
        service.wait_until(lambda: answers(f"{url}/ok"), START_LIMIT_S * 2)
        yield url
    finally:
        stop_all([service], STOP_LIMIT_S)


class LangGraphClient(TailClient):
    """Sends the same requests in the form that LangGraph's server expects."""

    async def start(self, session: str, metadata: dict[str, Any], *, message: str = "go") -> Answer:  # noqa: ARG002
        """Start one stateless run. To stream in another way, a thread would have to be made before."""
        body = {"assistant_id": "bench", "input": metadata, "stream_mode": ["custom"]}
        return await self._send("POST", "/runs/stream", json.dumps(body).encode())


def produced(answer: Answer, count: int) -> list[tuple[int, int]]:
    """Check an answer, and return when each event was made and when its last byte came.

    Raises:
        WrongAnswerError: an event is missing or out of order, or the server reported an error.
    """
    raw = b"".join(data for _, data in answer.parts)
    found, text, at = [], b"", raw.find(b"\r\n\r\n") + 4
    if not raw.startswith(b"HTTP/1.1 200 ") or not raw.endswith(b"\r\n0\r\n\r\n"):
        raise WrongAnswerError(raw[:500].decode(errors="replace"))
    ends, total = [], 0
    for at_ns, data in answer.parts:
        total += len(data)
        ends.append((total, at_ns))
    which = 0
    while size := int(raw[at : (begins := raw.index(b"\r\n", at) + 2)], 16):
        at = begins + size + 2
        text += raw[begins : begins + size]
        while ends[which][0] < min(at, len(raw)):
            which += 1
        *blocks, text = text.replace(b"\r\n", b"\n").split(b"\n\n")
        for block in blocks:
            found += [(data, ends[which][1]) for data in _custom(block)]
    if [data["number"] for data, _ in found] != list(range(1, count + 1)):
        raise WrongAnswerError(f"{len(found)} events, {count} were expected: {found[:3]}")
    return [(data["at"], at_ns) for data, at_ns in found]


def _custom(block: bytes) -> Iterator[dict[str, Any]]:
    fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line)
    if fields.get(b"event") == b"error":
        raise WrongAnswerError(block.decode())
    if fields.get(b"event") == b"custom":
        yield json.loads(fields[b"data"])
