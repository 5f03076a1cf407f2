"""Runs a real llama.cpp server, which is installed into a venv of its own at the first use."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stack import venvs
from stack.cluster import ROOT, bare_environment
from stack.process import Service, answers, free_port

LOCK = ROOT / "tests" / "worker" / "backends" / "realserver.lock"
START_LIMIT_S = 60.0


@contextmanager
def llama_server(home: Path, max_tokens: int, model: Path | None = None) -> Iterator[str]:
    """Yield the root URL of a server of a tiny model, or of another one. It logs into the folder `home`.

    `max_tokens`: the length of every answer; 0: the model ends by itself.

    Raises:
        SetupError: it cannot be installed on this machine.
    """
    python, port = venvs.interpreter(LOCK, "realserver"), free_port()
    script = Path(__file__).with_name("tiny_llama.py")
    argv = [str(python), str(script), str(model or home / "tiny.gguf"), str(port), str(max_tokens)]
    service = Service("llama", argv, bare_environment(), home / "llama.log")
    root = f"http://127.0.0.1:{port}"
    service.start()
    try:
        service.wait_until(lambda: answers(f"{root}/health"), START_LIMIT_S)
        yield root
    finally:
        service.kill()
