"""The structs with which routes.py describes the operations of the API. openapi.py writes them down as JSON."""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from turnwire.api.access.identity import Scope
from turnwire.api.edge.exchange import Exchange
from turnwire.api.services import Services

SESSIONS: Final = "/v1/sessions/{session}"
TURNS: Final = f"{SESSIONS}/turns"
TURN: Final = f"{TURNS}/{{index}}"

OperationHandler = Callable[[Services, Exchange], Awaitable[None]]


class Answer(msgspec.Struct, frozen=True):
    """One successful answer.

    `body`: the struct of its JSON document; None: it has no document. `stream`: whether it may be a stream of events.
    `headers`: names in openapi.HEADERS. `media_type`: of an answer that is text.
    """

    status: int
    description: str
    body: type[msgspec.Struct] | None = None
    stream: bool = False
    headers: tuple[str, ...] = ()
    media_type: str | None = None


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path.

    `scope`: what the credentials must include. `begins_session`: its session may be a new one. `handler`: its name in
    camel case is the operation's id. `head`: whether a HEAD request gets the same answer without its body.
    `parameters`: names in openapi.PARAMETERS. `body`: the struct of the request's body. `problems`: the statuses with
    which it may refuse, in addition to those that all share.
    """

    path: str
    method: str
    scope: Scope
    begins_session: bool = False
    handler: OperationHandler
    summary: str
    head: bool = False
    parameters: tuple[str, ...] = ()
    body: type[msgspec.Struct] | None = None
    body_required: bool = False
    answers: tuple[Answer, ...]
    problems: tuple[int, ...] = ()

    @property
    def is_of_session(self) -> bool:
        """Whether it concerns one session, which its path names."""
        return self.path.startswith(SESSIONS)

    @property
    def is_of_turn(self) -> bool:
        """Whether it concerns one turn, which its path names."""
        return self.path.startswith(TURN)

    @property
    def is_streamed(self) -> bool:
        """Whether it may answer with a stream."""
        return any(answer.stream for answer in self.answers)

    @property
    def is_followed(self) -> bool:
        """Whether it is a GET that answers with a stream, as an EventSource asks for."""
        return self.method == "GET" and self.is_streamed

    @property
    def name(self) -> str:
        """The operation's id: `ask_next_turn` is `askNextTurn`."""
        first, *others = getattr(self.handler, "__name__", "").split("_")
        return first + "".join(word.capitalize() for word in others)
