"""An offline model server that can go on with answers: `python -m stack.model_server PORT`.

It speaks OpenAI's chat completions, and keeps answers as llama.cpp does if a request has `X-Conversation-Id`. Below
`/v1`, it goes on with a last message of the assistant, whatever else the request has; below `/flags/v1` only with the
flags for that, and below `/prefix/v1` only if the message is a prefix. Otherwise it starts the answer over. It also
speaks the Responses API, and keeps these answers under names of its own.

A message `NAME WORDS RATE` is answered with so many words, `NAME.0 NAME.1 …`, so many each second. A word is a token,
and counts from the moment at which it is made. `GET /bill` returns what was made for each request so far.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from stack.answer_forms import ChatChunks, Form, ResponseEvents

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


class Answer:
    """One answer while it is made. `chunks`: the bytes of its stream so far."""

    def __init__(self, messages: list[dict[str, Any]], key: str, form: Form, *, goes_on: bool) -> None:
        asked = next(message for message in reversed(messages) if message["role"] == "user")["content"]
        name, words, rate = asked.split()
        self.words = [f"{name}.{number}" for number in range(int(words))]
        self.pause_s = 1 / float(rate)
        self.first = said(messages, self.words) if goes_on else 0
        self.form = form
        self.bill = {"key": key, "asked": asked, "tokens_out": 0, "is_whole": False, "is_rest": self.first > 0}
        self.chunks: list[bytes] = []
        self.grown = asyncio.Condition()
        self.task: asyncio.Task[None] | None = None

    async def make(self) -> None:
        """Make one word after the other."""
        tick = asyncio.get_running_loop().time()
        await self._put(self.form.begin())
        for number in range(self.first, len(self.words)):
            self.bill["tokens_out"] += 1
            word = self.words[number]
            await self._put(self.form.word(f" {word}" if number else word))
            tick += self.pause_s
            await asyncio.sleep(tick - asyncio.get_running_loop().time())
        self.bill["is_whole"] = True
        await self._put(self.form.end(10 + self.first, self.bill["tokens_out"]))

    async def _put(self, chunks: list[bytes]) -> None:
        async with self.grown:
            self.chunks += chunks
            self.grown.notify_all()

    async def read(self, first: int = 0) -> AsyncIterator[bytes]:
        """Yield the bytes of the stream from its chunk `first` on, until the answer is whole or was stopped."""
        sent, is_over = first, False
        while not is_over:
            async with self.grown:
                while len(self.chunks) <= sent and not self.is_over:
                    await self.grown.wait()
                new, is_over = b"".join(self.chunks[sent:]), self.is_over
                sent = max(sent, len(self.chunks))
            if new:
                yield new

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.task is not None and self.task.done()

    def start(self) -> None:
        """Begin to make it."""
        self.task = asyncio.create_task(self.make())
        self.task.add_done_callback(lambda _: asyncio.ensure_future(self._over()))

    async def stop(self) -> None:
        """Make nothing more."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})

    async def _over(self) -> None:
        async with self.grown:
            self.grown.notify_all()


def said(messages: list[dict[str, Any]], words: list[str]) -> int:
    """Return how many of the words are said already. They must be the model's own."""
    last = messages[-1]
    if last["role"] != "assistant":
        return 0
    begun = last["content"].split()
    return len(begun) if begun == words[: len(begun)] else 0


def goes_on(request: dict[str, Any], path: str) -> bool:
    """Return whether the server goes on with an answer that this request begins."""
    if path.startswith("/flags/"):
        return request.get("continue_final_message") is True and request.get("add_generation_prompt") is False
    return not path.startswith("/prefix/") or request["messages"][-1].get("prefix") is True


class ModelServer:
    """Answers requests. `bills`: what was made for each of them; `asked`: the texts of its messages."""

    def __init__(self) -> None:
        self.bills: list[dict[str, Any]] = []
        self.asked: list[list[str]] = []
        self.deletions = 0  # the requests to stop an answer
        self._answers: list[Answer] = []
        self._kept: dict[str, Answer] = {}

    @property
    def making(self) -> int:
        """How many answers are being made."""
        return sum(not answer.is_over for answer in self._answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which has one request."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, target, _ = line.split()
            await self._answer(method, target, headers, body, reader, writer)
        writer.close()

    async def _answer(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        url = urlsplit(target)
        query = parse_qs(url.query)
        kept_id = query.get("conv_id", [""])[0]
        _, responses, path = url.path.partition("/responses")
        if responses:
            await self._respond(method, path, query, headers, body, reader, writer)
        elif method == "POST":
            request = json.loads(body)
            answer = Answer(request["messages"], headers.get("idempotency-key", ""), ChatChunks(),
                            goes_on=goes_on(request, url.path))  # fmt: skip
            self.asked.append([message["content"] for message in request["messages"]])
            await self._make(answer, headers.get("x-conversation-id"), reader, writer)
        elif url.path == "/bill":
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + json.dumps(self.bills).encode())
        elif method == "DELETE":
            self.deletions += 1
            if kept_id in self._kept:
                await self._kept.pop(kept_id).stop()
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        elif kept_id in self._kept:
            await self._send(self._kept[kept_id], writer)
        else:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async def _respond(
        self,
        method: str,
        path: str,
        query: dict[str, list[str]],
        headers: dict[str, str],
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Answer a request of the Responses API. `path`: what follows `/responses`."""
        name, _, action = path.removeprefix("/").partition("/")
        answer = self._kept.get(name)
        if method == "POST" and not name:
            name = f"resp_{len(self._kept)}"
            form = ResponseEvents(name)
            answer = Answer(json.loads(body)["input"], headers.get("idempotency-key", ""), form, goes_on=False)
            await self._make(answer, name, reader, writer)
        elif answer is None or not isinstance(answer.form, ResponseEvents):
            error = {"message": f"Response with id '{name}' not found.", "type": "invalid_request_error"}
            _write_json(writer, {"error": {**error, "param": "id", "code": None}}, "404 Not Found")
        elif action == "cancel":
            await answer.stop()
            _write_json(writer, answer.form.state("cancelled"))
        elif query.get("stream") == ["true"]:
            await self._send(answer, writer, 1 + int(query.get("starting_after", ["-1"])[0]))
        else:
            _write_json(writer, answer.form.state("completed" if answer.bill["is_whole"] else "in_progress"))

    async def _make(
        self, answer: Answer, kept_id: str | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.bills.append(answer.bill)
        self._answers.append(answer)
        if kept_id is not None:
            if kept_id in self._kept:
                await self._kept[kept_id].stop()
            self._kept[kept_id] = answer
        answer.start()
        sending = asyncio.create_task(self._send(answer, writer))
        leaving = asyncio.create_task(reader.read())  # it returns when the client hangs up
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        for task in (sending, leaving):
            task.cancel()
        await asyncio.wait({sending, leaving})
        if kept_id is None:
            await answer.stop()

    async def _send(self, answer: Answer, writer: asyncio.StreamWriter, first: int = 0) -> None:
        with suppress(ConnectionError):
            writer.write(HEAD)
            async for piece in answer.read(first):
                writer.write(piece)
                await writer.drain()


def _write_json(writer: asyncio.StreamWriter, document: Any, status: str = "200 OK") -> None:
    body = json.dumps(document).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    )
    writer.write(head.encode() + b"\r\n" + body)


async def _main(port: int) -> None:
    server = await asyncio.start_server(ModelServer().serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
