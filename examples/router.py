"""A router: a small model decides who answers, and with which model. The names are those of your file of models.

    TURNWIRE_MODELS_FILE=models.toml TURNWIRE_HOOKS=examples.router:hooks python3 dev.py

The route is a step, so a turn keeps its route after a crash, although the model might choose another one then.
"""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from turnwire import ChatTurnHooks, Turn
from turnwire.backends import Models, assistant_message

SMALL, LARGE = "small", "large"
ROUTES = {
    "billing": (SMALL, "You answer questions about invoices, briefly."),
    "contracts": (LARGE, "You are a lawyer. Quote the clause that you rely on."),
    "other": (SMALL, "You help politely."),
}
ROUTE = f"Which of these is the user's message about? Say one word: {', '.join(ROUTES)}."
models = Models.from_env()


class Router(ChatTurnHooks):
    """Asks the small model for a route, and the model of that route for the answer."""

    async def produce(self, turn: Turn) -> AsyncGenerator[Any]:
        """An event that names the route, and those of the answer."""
        route = await turn.step("route", partial(self._route, turn), kind="llm")
        model, system = ROUTES[route]
        yield {"type": "routed", "data": {"route": route, "model": model}}
        messages = [{"role": "system", "content": system}, *turn.history(), {"role": "user", "content": turn.message}]
        async for event in turn.stream("answer", partial(models.ask, turn, messages, model=model, name="answer")):
            yield event

    async def _route(self, turn: Turn) -> str:
        asked = [{"role": "system", "content": ROUTE}, {"role": "user", "content": turn.text}]
        events = [event async for event in models.ask(turn, asked, model=SMALL, name="route")]
        word = str(assistant_message(events)["content"]).strip(" .\n").lower()
        return word if word in ROUTES else "other"  # a model may say anything

    async def aclose(self) -> None:
        """Close the connections when the worker stops."""
        await models.aclose()


hooks = Router()
