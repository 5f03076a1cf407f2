"""The recipes: a gate, a router, a loop of tasks, a bridge for traces, and telemetry without content."""

import importlib
import json
import logging
import sys
from typing import Any

import pytest

from tests.worker.backends.rawserver import raw_server, reply
from turnwire.testing import crash_at_each_write, run_turn

RECIPES = ("gate", "router", "task_loop", "trace_bridge", "telemetry")


class Scripted:
    """A model that says what `answer` returns for the name of a call and the text that is asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str | None]] = []  # the name of the call, and the model

    async def ask(self, turn, messages, *, name, model=None, **_: Any):
        self.asked.append((name, model))
        for word in self.answer(name, messages[-1]["content"]).split(" "):
            yield {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": f"{word} "}}

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


@pytest.fixture
def recipe(monkeypatch, tmp_path):
    """Imports a recipe anew, with a model server that does not exist, because the recipes ask another one here."""
    file = tmp_path / "models.toml"
    file.write_text('[models.small]\nurl = "http://127.0.0.1:9/v1"\n[models.large]\nurl = "http://127.0.0.1:9/v1"\n')
    monkeypatch.setenv("TURNWIRE_LLM_BASE_URL", "http://127.0.0.1:9/v1")

    def load(name: str, model: Scripted | None = None) -> Any:
        monkeypatch.delitem(sys.modules, f"examples.{name}", raising=False)
        if name == "router":
            monkeypatch.delenv("TURNWIRE_LLM_BASE_URL")
            monkeypatch.setenv("TURNWIRE_MODELS_FILE", str(file))
        module = importlib.import_module(f"examples.{name}")
        if model is not None:
            monkeypatch.setattr(module, "models" if name == "router" else "backend", model)
        return module

    return load


@pytest.mark.parametrize(
    ("gate", "answer", "asked"),
    [("OK.", "It is signed. ", ["gate", "answer"]), ("Which contract?", "Which contract?", ["gate"])],
)
async def test_the_gate_answers_or_asks_back(recipe, gate, answer, asked):
    model = Scripted(lambda name, _: gate if name == "gate" else "It is signed.")
    run = await run_turn(recipe("gate", model).hooks, "Is it signed?")
    assert (run.final_text, model.names) == (answer, asked)


@pytest.mark.parametrize(
    ("word", "route", "model"), [("Contracts.", "contracts", "large"), ("I do not know", "other", "small")]
)
async def test_the_router_chooses_once(recipe, word, route, model):
    asked = Scripted(lambda name, _: word if name == "route" else "Clause 7.")
    run = await run_turn(recipe("router", asked).hooks, "May they end it?", crash_after="checkpoint.route")
    assert run.final_text == "Clause 7. "
    assert asked.asked == [("route", "small"), ("answer", model)]
    assert next(event.data for event in run.events if event.type == "routed") == {"route": route, "model": model}


def works(name: str, asked: str) -> str:
    if name == "plan":
        return "TODO find the contract\nTODO read it"
    if name == "task-1":
        return "It is number 7.\nTODO tell its date"
    return f"done: {name}" if name != "answer" else f"{asked.count('done')} done"


async def test_the_loop_does_its_tasks_and_those_that_they_add(recipe):
    model = Scripted(works)
    run = await run_turn(recipe("task_loop", model).hooks, "Is it signed?")
    assert model.names == ["plan", "task-1", "task-2", "task-3", "answer"]
    assert run.final_text == "2 done "
    tasks = [event.data["task"] for event in run.events if event.type == "task"]
    assert tasks == ["find the contract", "read it", "tell its date"]


async def test_the_loop_has_an_end(recipe):
    model = Scripted(lambda name, asked: "TODO more" if name != "answer" else str(asked.count("Not done")))
    run = await run_turn(recipe("task_loop", model).hooks, "Is it signed?")
    assert model.names == ["plan", *(f"task-{number}" for number in range(1, 7)), "answer"]
    assert run.final_text == "1 ", "the answer knows what was not done"


@pytest.mark.parametrize(("name", "says"), [("gate", lambda name, _: "OK"), ("task_loop", works)])
async def test_a_crash_at_any_write_repeats_no_step(recipe, name, says):
    hooks = recipe(name, Scripted(says)).hooks
    report = await crash_at_each_write(lambda: hooks, "Is it signed?", modes=["after"])
    assert report.problems == [], str(report)


async def test_the_bridge_sends_steps_attempts_and_the_end(recipe, monkeypatch):
    async with raw_server() as server:
        for _ in range(2):
            server.play(reply(200, b"{}"))
        monkeypatch.setenv("TRACES_URL", server.url)
        run = await run_turn(recipe("trace_bridge").hooks, "hello", crash_after="checkpoint.search")
        assert run.status == "completed"
        spans = [span for request in server.requests for span in json.loads(request.body)]
    assert [span["name"] for span in spans] == ["search", "session.run.completed", "attempt 1", "attempt 2"]
    assert spans[0]["ended_s"] >= spans[0]["began_s"]
    assert [span.get("outcome") for span in spans[2:]] == ["crashed", "completed"]


async def test_the_telemetry_holds_no_text(recipe, caplog):
    caplog.set_level(logging.INFO, "telemetry")
    run = await run_turn(recipe("telemetry").hooks, "my secret")
    assert run.status == "completed"
    shown = [json.loads(record.message) for record in caplog.records if record.name == "telemetry"]
    assert [line["type"] for line in shown] == [event.type for event in run.events]
    assert "secret" in str(run.final_text)
    assert "secret" not in caplog.text
