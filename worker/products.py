"""Imports the products of this worker, and finds the hooks for a turn."""

import asyncio
import importlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from turnwire.shared.errors import SettingsError, TurnFailure, TurnwireError, storable
from turnwire.shared.settings import Settings
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.turn.limits import CLOSE_S, call_within
from turnwire.worker.turn.redaction import Redaction
from turnwire.worker.turn.turn import Turn

logger = logging.getLogger(__name__)

TELL_S: Final = 60.0  # so often the log names a project whose turns wait
MOST_TOLD: Final = 100  # the log names at most so many projects, because clients choose their names


class StartupError(TurnwireError):
    """A product's hook `startup` failed, so the worker cannot run its turns."""

    code = "startup"
    retryable = True


class Products:
    """The hooks of this worker's products, by project. Those under None serve every project without an entry."""

    def __init__(self, hooks: Mapping[str | None, ChatTurnHooks]) -> None:
        self._hooks = dict(hooks)
        self._started: list[ChatTurnHooks] = []
        self._told_s: dict[str, float] = {}  # when the log last named a project that is not served here

    @classmethod
    def from_settings(cls, settings: Settings) -> "Products":
        """Import the hooks that TURNWIRE_HOOKS names: `module:attr`, or `legal=legal_app:hooks,tax=tax_app:hooks`.

        Without that setting, the models of TURNWIRE_MODELS_FILE are asked if it is set, else the server of
        TURNWIRE_LLM_BASE_URL if that is set, and otherwise the demo.

        Raises:
            SettingsError: an entry cannot be imported, or has no `produce`; or the file of models cannot be used. The
                text names what is wrong.
        """
        if settings.hooks is None:
            return cls({None: _default_hooks(settings)})
        hooks: dict[str | None, ChatTurnHooks] = {}
        for entry in settings.hooks.split(","):
            project, named, path = entry.strip().rpartition("=")
            if (project if named else None) in hooks:
                raise SettingsError(f"TURNWIRE_HOOKS: {entry.strip()!r} is the second entry for its project")
            hooks[project if named else None] = _import(path)
        return cls(hooks)

    def for_project(self, project: str | None) -> ChatTurnHooks:
        """Return the hooks for the turns of a project.

        Raises:
            TurnFailure: `unknown_project`: this worker has no hooks for the project.
        """
        hooks = self._hooks.get(project) or self._hooks.get(None)
        if hooks is None:
            raise TurnFailure("no product serves this project", code="unknown_project")
        return hooks

    def distinct(self, projects: Iterable[str | None]) -> list[ChatTurnHooks]:
        """Return the hooks for the turns of these projects, which this worker has to serve, each once."""
        return list({id(hooks): hooks for hooks in map(self.for_project, projects)}.values())

    def all(self) -> list[ChatTurnHooks]:
        """Return the hooks of every product of this worker, each once."""
        return self.distinct(self._hooks)

    @property
    def continue_answers(self) -> bool:
        """Whether the hooks of every product go on with what a dead attempt had streamed."""
        return all(
            getattr(hooks, "continues_answers", False) is True and hook(hooks, "redact") is None
            for hooks in self._hooks.values()
        )

    @property
    def projects(self) -> list[str] | None:
        """The projects whose turns this worker can run; None: all turns."""
        return None if None in self._hooks else [project for project in self._hooks if project is not None]

    def serves(self, project: str | None) -> bool:
        """Return whether this worker can run the project's turns."""
        return project in self._hooks or None in self._hooks

    def tell_unserved(self, project: str | None, waited_ms: int) -> None:
        """Log, once a minute for each project, that its turns wait for another worker; this one for `waited_ms`."""
        name, now_s = project or "", time.monotonic()
        told_s = self._told_s.get(name)
        if (told_s is None and len(self._told_s) >= MOST_TOLD) or (told_s is not None and now_s - told_s < TELL_S):
            return
        self._told_s[name] = now_s
        whose = f"of project {name!r}" if name else "without a project"
        text = "this worker has no hooks for turns %s; they wait for a worker that has, one for %d s so far"
        logger.warning(text, whose, waited_ms // 1000)

    def names(self) -> str:
        """Return the projects and their hooks as text for the log."""
        return ", ".join(f"{project or '*'}={type(hooks).__name__}" for project, hooks in self._hooks.items())

    async def startup(self, limit_s: float) -> None:
        """Start every product, one after the other. Each may take `limit_s` seconds.

        Raises:
            StartupError: a product could not start. The text names its class and its exception.
        """
        for hooks in self.all():
            start = hook(hooks, "startup")
            if start is not None:
                try:
                    await call_within(limit_s, start)
                except Exception as error:
                    why = f"{type(error).__name__}: {storable(error)}"
                    raise StartupError(f"the startup of {type(hooks).__name__} failed: {why}") from error
            self._started.append(hooks)

    async def aclose(self) -> None:
        """Shut down the products that were started, then close the hooks of all; each for at most 5 s.

        It does so even if one of them raises.
        """
        started, self._started = self._started, []
        await asyncio.gather(*(_end(hooks, "shutdown") for hooks in started))
        await asyncio.gather(*(_end(hooks, "aclose") for hooks in self.all()))


async def _end(hooks: ChatTurnHooks, name: str) -> None:
    end = hook(hooks, name)
    if end is None:
        return
    try:
        await call_within(CLOSE_S, end)
    except Exception:
        logger.exception("the %s of %s failed or took too long", name, type(hooks).__name__)


def _default_hooks(settings: Settings) -> ChatTurnHooks:
    if settings.models_file:
        from turnwire.worker.backends.models import Models, ModelsHooks

        return ModelsHooks(Models(settings, os.environ))
    if settings.llm_base_url:
        from turnwire.worker.backends.openai_hooks import OpenAIHooks

        return OpenAIHooks.from_settings(settings)
    from turnwire.worker.backends.demo import DemoHooks

    return DemoHooks()


def _import(path: str) -> ChatTurnHooks:
    module_name, colon, attribute = path.strip().partition(":")
    if not (module_name and colon and attribute):
        raise SettingsError(f"TURNWIRE_HOOKS: {path.strip()!r} is not module:attribute")
    try:
        hooks = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise SettingsError(f"TURNWIRE_HOOKS: {path.strip()}: {type(error).__name__}: {error}") from error
    if isinstance(hooks, type) or not callable(getattr(hooks, "produce", None)):
        raise SettingsError(f"TURNWIRE_HOOKS: {path.strip()} is not an instance with a produce method")
    return hooks  # type: ignore[no-any-return]


def redaction_of(hooks: ChatTurnHooks, turn: Turn) -> Redaction | None:
    """Return the redaction of a turn's events; None: the product has no hook `redact`."""
    redact = hook(hooks, "redact")
    tail = getattr(hooks, "redact_tail", ChatTurnHooks.redact_tail)  # hooks need not be of a subclass
    return None if redact is None else Redaction(partial(redact, turn), max(tail, 0))


def hook(hooks: ChatTurnHooks, name: str) -> Callable[..., Any] | None:
    """Return an optional hook of a product, or None if the product does not define it."""
    found = getattr(hooks, name, None)
    if getattr(found, "__func__", found) is getattr(ChatTurnHooks, name):
        return None
    return found
