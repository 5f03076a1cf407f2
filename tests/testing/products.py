"""Small products that the tests of the kit run."""

import asyncio
from collections import Counter
from typing import Any

from turnwire import ChatStreamEvent, ChatTurnHooks, ModelCall, Turn, TurnError, TurnFailure
from turnwire.testing import TurnRun

SECRET = "4111 1111"


def say(text: str) -> dict[str, Any]:
    return {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": text}}


class Shop(ChatTurnHooks):
    """Looks something up, asks for approval, charges, and answers from a model."""

    def __init__(self) -> None:
        self.did: Counter[str] = Counter()

    async def produce(self, turn: Turn):
        found = await turn.step("search", self.search, kind="tool")
        yield say(f"{found} ")
        ok = await turn.signal("approval", timeout=60)
        yield say(f"{ok} ")
        async for event in turn.stream("answer", lambda: self.model(turn)):
            yield event
        await turn.step("charge", self.charge, kind="tool", input={"order": turn.message})

    def search(self) -> str:
        self.did["search"] += 1
        return "found"

    async def charge(self) -> None:
        self.did["charge"] += 1

    async def model(self, turn: Turn):
        self.did["model"] += 1
        turn.usage.add(ModelCall("m", tokens_in=7, tokens_out=2))
        yield say("it ")
        yield say("is")

    async def persist_assistant_message(self, turn: Turn, final_text: str) -> None:
        self.did["persist"] += 1


class Fails(Shop):
    """Its database is away for the first so many calls."""

    def __init__(self, persist_fails: int = 0) -> None:
        super().__init__()
        self.persist_fails = persist_fails

    async def produce(self, turn: Turn):
        yield say("hello")

    async def persist_assistant_message(self, turn: Turn, final_text: str) -> None:
        await super().persist_assistant_message(turn, final_text)
        if self.did["persist"] <= self.persist_fails:
            raise RuntimeError("no database")


class Careless(ChatTurnHooks):
    """Its text depends on how often it ran, because it keeps in memory what it should not."""

    def __init__(self) -> None:
        self.runs = 0

    async def produce(self, turn: Turn):
        self.runs += 1
        yield say(f"run {self.runs}")
        await turn.step(f"step-{self.runs % 2}", self.work)

    async def work(self) -> None:
        await asyncio.sleep(0)


class Says(ChatTurnHooks):
    """Does what the test gives it."""

    def __init__(self, script):
        self.script = script

    async def produce(self, turn: Turn):
        async for event in self.script(turn):
            yield event


def code_of(run: TurnRun) -> str | None:
    """The code with which a turn failed."""
    return None if run.error is None else run.error.code


class Hears(ChatTurnHooks):
    """Says two words, then does what the message wants; notes what it is told of its failures."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.histories: list[list[dict[str, Any]]] = []

    async def produce(self, turn: Turn) -> Any:
        self.histories.append(turn.history())
        yield say("one ")
        yield say("two")
        if turn.message == "wait":
            await turn.signal("go")
        if turn.message == "fail" and len(self.told) < 2:
            raise TurnFailure("broke", code="broke")

    def on_turn_failed(self, turn: Turn, error: TurnError, partial_text: str) -> None:
        assert turn.message_id
        self.told.append((error.code, partial_text))


class Hides(ChatTurnHooks):
    """Says a card number in pieces, in the way that the message names."""

    redact_tail = 16

    def redact(self, turn: Turn, event: ChatStreamEvent) -> ChatStreamEvent | None:
        if event.type == "thought":
            return None
        hidden = {
            name: value.replace(SECRET, "####") if isinstance(value, str) else value
            for name, value in event.data.items()
        }
        return ChatStreamEvent(event.type, hidden)

    async def words(self) -> Any:
        for word in ["the card ", "is 4", "111 11", "11, and ", "so ", "on and on and on"]:
            yield say(word)
            if word == "so ":
                yield {"type": "thought", "data": {"text": SECRET}}

    async def produce(self, turn: Turn) -> Any:
        if turn.message == "stream":
            async for event in turn.stream("answer", self.words):
                yield event
            await turn.step("after", lambda: None)
            return
        async for event in self.words():
            yield event
        if turn.message == "fail":
            raise ValueError(SECRET)
