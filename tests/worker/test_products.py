"""TURNWIRE_HOOKS: one product or several, refused by name when wrong."""

import asyncio
import sys
import threading
import types
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from tests.support.product import Product, Scripted
from turnwire.shared.errors import SettingsError, TurnFailure
from turnwire.shared.settings import Settings
from turnwire.worker.backends.demo import DemoHooks
from turnwire.worker.backends.models import ModelsHooks
from turnwire.worker.backends.openai_hooks import OpenAIHooks
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.products import Products, StartupError, hook, redaction_of
from turnwire.worker.turn.calling import call


@pytest.fixture
def app(monkeypatch):
    """A product's module."""
    module: Any = types.ModuleType("demo_app")
    module.hooks, module.other = Scripted(), Scripted()
    module.Hooks, module.number = Scripted, 5
    module.nested = types.SimpleNamespace(hooks=module.other)
    monkeypatch.setitem(sys.modules, "demo_app", module)
    return module


def products(hooks: str) -> Products:
    return Products.from_settings(Settings(hooks=hooks))


def test_one_product_serves_every_project(app):
    found = products("demo_app:hooks")
    assert found.for_project(None) is found.for_project("legal") is app.hooks


def test_several_products_are_chosen_by_project(app):
    found = products(" legal=demo_app:hooks , tax=demo_app:other")
    assert found.for_project("legal") is app.hooks
    assert found.for_project("tax") is app.other


@pytest.mark.parametrize("project", [None, "other"])
def test_a_project_that_nobody_serves_fails_its_turn(app, project):
    with pytest.raises(TurnFailure) as refused:
        products("legal=demo_app:hooks").for_project(project)
    assert refused.value.code == "unknown_project"


def test_a_product_without_a_project_serves_the_rest(app):
    found = products("legal=demo_app:hooks,demo_app:other")
    assert found.for_project("legal") is app.hooks
    assert found.for_project("else") is app.other


@pytest.mark.parametrize(
    ("hooks", "named"),
    [("nonsense", "nonsense"), ("demo_app:", "demo_app:"), (":hooks", ":hooks"), ("no_such:hooks", "no_such"),
     ("demo_app:missing", "missing"), ("demo_app:Hooks", "demo_app:Hooks"), ("demo_app:number", "demo_app:number"),
     ("demo_app:hooks,demo_app:other", "second entry"), ("a=demo_app:hooks,a=demo_app:other", "second entry"),
     ("demo_app:hooks,", "''"), ("", "''")],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_name(app, hooks, named):
    with pytest.raises(SettingsError, match=r"^TURNWIRE_HOOKS: ") as refused:
        products(hooks)
    assert named in str(refused.value)


def test_a_module_that_raises_while_it_is_imported_is_refused_by_name(monkeypatch, tmp_path):
    (tmp_path / "broken_app.py").write_text("raise RuntimeError('no database')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match=r"^TURNWIRE_HOOKS: broken_app:hooks: .*no database"):
        products("broken_app:hooks")


async def test_without_hooks_it_is_the_models_or_the_model_server_if_there_is_one_else_the_demo(tmp_path):
    assert isinstance(Products.from_settings(Settings()).for_project(None), DemoHooks)
    model = Products.from_settings(msgspec.structs.replace(Settings(), llm_base_url="http://127.0.0.1:1/v1"))
    assert isinstance(model.for_project(None), OpenAIHooks)
    await model.aclose()
    file = tmp_path / "models.toml"
    file.write_text('[models.small]\nurl = "http://127.0.0.1:1/v1"\n', encoding="utf-8")
    models = Products.from_settings(Settings(models_file=str(file)))
    assert isinstance(models.for_project(None), ModelsHooks)
    await models.aclose()
    with pytest.raises(SettingsError, match="TURNWIRE_MODELS_FILE"):
        Products.from_settings(Settings(models_file=str(tmp_path)))


async def test_every_product_is_closed_whatever_one_of_them_raises():
    closed = []

    class Closing(Scripted):
        async def aclose(self):
            closed.append(self)
            raise RuntimeError("no")

    without_close: Any = types.SimpleNamespace(produce=None)
    await Products({"a": Closing(), "b": Closing(), "c": without_close}).aclose()
    assert len(closed) == 2


async def test_closing_ends_whatever_a_product_makes_of_it(monkeypatch, caplog):
    monkeypatch.setattr("turnwire.worker.products.CLOSE_S", 0.05)
    closed = []

    class Hanging(Scripted):
        async def aclose(self):
            while True:
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                    closed.append("never")
                if closed:
                    return

    class Plain(Scripted):
        def aclose(self):
            closed.append("plain")

    class Exiting(Scripted):
        async def aclose(self):
            raise SystemExit(3)

    await Products({"a": Hanging(), "b": Plain(), "c": Exiting()}).aclose()
    assert closed == ["plain"]
    assert "Hanging.aclose took longer than 0.05 s" in caplog.text
    assert "SystemExit" in caplog.text


def test_only_a_hook_of_the_products_own_counts():
    assert hook(Scripted(), "on_event") is None
    no_hooks: Any = types.SimpleNamespace()
    assert hook(no_hooks, "on_event") is None
    product = Product()
    assert hook(product, "on_event") == product.on_event


async def test_plain_functions_run_in_a_thread_and_coroutines_here():
    async def here():
        return threading.current_thread()

    assert await call(threading.current_thread) is not threading.current_thread()
    assert await call(here) is threading.current_thread()


async def test_a_plain_function_that_returns_a_coroutine_is_awaited():
    async def answer(number):
        return number

    assert await call(lambda number: answer(number + 1), 6) == 7


class Staged(Scripted):
    """Notes when it is started and shut down."""

    def __init__(self, notes: list[str], fails: Exception | None = None) -> None:
        super().__init__()
        self.notes, self.fails = notes, fails

    async def startup(self):
        self.notes.append("startup")
        if self.fails is not None:
            raise self.fails

    def shutdown(self):
        self.notes.append("shutdown")
        raise RuntimeError("no")

    async def aclose(self):
        self.notes.append("aclose")


async def test_products_are_started_before_the_first_turn_and_shut_down_before_they_are_closed():
    notes: list[str] = []
    products = Products({"a": Staged(notes), "b": Scripted()})
    await products.startup(5)
    await products.aclose()
    assert notes == ["startup", "shutdown", "aclose"]


async def test_a_product_that_cannot_start_is_named_and_only_what_was_started_is_shut_down():
    first: list[str] = []
    second: list[str] = []
    products = Products({"a": Staged(first), "b": Staged(second, OSError("no database"))})
    with pytest.raises(StartupError, match="the startup of Staged failed: OSError: no database"):
        await products.startup(5)
    await products.aclose()
    assert (first, second) == (["startup", "shutdown", "aclose"], ["startup", "aclose"])


async def test_a_startup_that_hangs_is_given_up():
    class Hangs(Scripted):
        async def startup(self):
            await asyncio.Event().wait()

    with pytest.raises(StartupError, match=r"took longer than 0\.05 s"):
        await Products({None: Hangs()}).startup(0.05)


def test_hooks_of_no_subclass_may_redact_without_a_length_of_their_own():
    turn: Any = None
    hooks: Any = types.SimpleNamespace(redact=lambda _, event: event)
    redaction = redaction_of(hooks, turn)
    assert redaction is not None
    assert redaction.tail == ChatTurnHooks.redact_tail
