"""Model servers that count what they make: an offline one, and a real llama.cpp."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx

from benchmarks.rig.services import START_LIMIT_S, running
from stack.cluster import bare_environment
from stack.llama import llama_server
from stack.process import answers, free_port

ANSWER_WORDS = 120
WORDS_PER_S = 60


class Server(Protocol):
    """A model server. `root`: its URL. `name`: for the report. `options`: those of each request."""

    name: str
    root: str
    options: dict[str, Any]

    def message(self, name: str, words: int = ANSWER_WORDS, rate: float = WORDS_PER_S) -> str:
        """Return what to ask, so that nobody else gets the same answer if that can be."""

    def base_url(self, mode: str) -> str:
        """Return its URL for a way in which answers go on."""

    def text(self, name: str, words: int = ANSWER_WORDS) -> str | None:
        """Return the answer to that; None if it is not known beforehand."""

    def made(self) -> int:
        """Return how many tokens it has made so far, for everybody."""

    def idle(self) -> bool:
        """Return whether it makes nothing."""


class Offline:
    """The model server of stack/model_server.py. A word is a token."""

    name = "offline"

    def __init__(self, root: str) -> None:
        self.root = root
        self.options: dict[str, Any] = {}

    @classmethod
    @contextmanager
    def running(cls, directory: Path) -> Iterator["Offline"]:
        """Run it as a process."""
        port = free_port()
        with running(directory, "model", ["-m", "stack.model_server", str(port)], bare_environment()) as process:
            process.wait_until(lambda: answers(f"http://127.0.0.1:{port}/bill"), START_LIMIT_S)
            yield cls(f"http://127.0.0.1:{port}")

    def base_url(self, mode: str) -> str:
        """See Server. With a path of its own, it goes on in this way only."""
        return f"{self.root}/{mode}/v1" if mode in {"flags", "prefix"} else f"{self.root}/v1"

    def message(self, name: str, words: int = ANSWER_WORDS, rate: float = WORDS_PER_S) -> str:
        """See Server."""
        return f"{name} {words} {rate}"

    def text(self, name: str, words: int = ANSWER_WORDS) -> str | None:
        """See Server."""
        return " ".join(f"{name}.{number}" for number in range(words))

    def made(self) -> int:
        """See Server."""
        return sum(bill["tokens_out"] for bill in httpx.get(f"{self.root}/bill", trust_env=False).json())

    def idle(self) -> bool:
        """Whether each answer is whole or was broken off: nobody reads any more, so nothing is made."""
        return True


class LlamaCpp:
    """A real llama.cpp. Its tiny model never ends by itself, and makes some thousand tokens a second."""

    def __init__(self, root: str, name: str, tokens: int) -> None:
        self.root = root
        self.name = name
        self.options = {"temperature": 0, "max_tokens": tokens}

    @classmethod
    @contextmanager
    def running(cls, directory: Path, model: Path | None) -> Iterator["LlamaCpp"]:
        """Run it as a process."""
        home = directory / "llama"
        home.mkdir()
        with llama_server(home, 0 if model else -1, model) as root:
            name = f"llama.cpp, {model.stem if model else 'tiny model'}"
            print(f"{name} runs", file=sys.stderr)
            yield cls(root, name, ANSWER_WORDS if model else 1500)

    def base_url(self, mode: str) -> str:  # noqa: ARG002 - a request alone says how it is to go on
        """See Server."""
        return f"{self.root}/v1"

    def message(self, name: str, words: int = ANSWER_WORDS, rate: float = WORDS_PER_S) -> str:  # noqa: ARG002
        """See Server. It makes words as fast as it can."""
        return f"Write a long story about number {name}."

    def text(self, name: str, words: int = ANSWER_WORDS) -> str | None:  # noqa: ARG002
        """See Server."""
        return None

    def made(self) -> int:
        """See Server."""
        metrics = httpx.get(f"{self.root}/metrics", trust_env=False).text
        found = re.search(r"^llamacpp:tokens_predicted_total (\S+)$", metrics, re.MULTILINE)
        assert found, metrics
        return int(float(found[1]))

    def idle(self) -> bool:
        """See Server."""
        return not any(slot["is_processing"] for slot in httpx.get(f"{self.root}/slots", trust_env=False).json())
