"""Lists every operation of the API with its description. The router and /openapi.json are made from this one table."""

from typing import Final

from turnwire.api.access.identity import Scope
from turnwire.api.edge.body import TurnBody
from turnwire.api.endpoints.cancel import CancelBody, cancel_turn
from turnwire.api.endpoints.erasure import erase_session, erase_user
from turnwire.api.endpoints.feed import follow_session
from turnwire.api.endpoints.follow import follow_turn
from turnwire.api.endpoints.info import Info, get_info
from turnwire.api.endpoints.metrics import get_metrics
from turnwire.api.endpoints.models import ModelList, list_models
from turnwire.api.endpoints.operation import SESSIONS, TURN, TURNS, Answer, Operation
from turnwire.api.endpoints.operator_routes import OF_OPERATORS
from turnwire.api.endpoints.probes import Health, is_alive, is_ready
from turnwire.api.endpoints.records import TurnList, get_turn, list_turns
from turnwire.api.endpoints.signals import SignalBody, StoredSignal, signal_turn
from turnwire.api.endpoints.tokens import RevokeBody, RevokedTokens, SessionToken, TokenBody, make_token, revoke_tokens
from turnwire.api.endpoints.turns import ask_next_turn, ask_turn
from turnwire.api.endpoints.usage import get_ledger, get_session_usage, get_usage
from turnwire.shared.erasure import Receipt
from turnwire.shared.ledger import LedgerRows, UsageSums
from turnwire.shared.model import TurnRecord

_LOCATED = ("Location", "Content-Location")
_ASKED = (
    Answer(
        200, "The events, live, or the record of a turn that has ended", TurnRecord,
        stream=True, headers=(*_LOCATED, "Idempotent-Replayed"),
    ),
    Answer(202, "The turn was accepted; its record as it is now", TurnRecord, headers=_LOCATED),
)  # fmt: skip
_ASK_PROBLEMS = (400, 404, 406, 409, 413, 415, 422, 429, 503)

OPERATIONS: Final = (
    Operation(
        path=SESSIONS, method="DELETE", handler=erase_session, scope=Scope.TURNS,
        summary="Erase everything of a session",
        parameters=("session",),
        answers=(Answer(200, "The receipt: the session is erased, its running turns and open streams end", Receipt),),
        problems=(400, 404, 503),
    ),
    Operation(
        path="/v1/users/{user}", method="DELETE", handler=erase_user, scope=Scope.TURNS,
        summary="Erase every session in which a user has asked for a turn",
        parameters=("user",),
        answers=(Answer(200, "The receipt: the sessions are erased; there may have been none", Receipt),),
        problems=(400, 503),
    ),
    Operation(
        path=TURNS, method="POST", handler=ask_next_turn, scope=Scope.TURNS, begins_session=True,
        summary="Ask for a turn at the session's next index",
        parameters=("session", "keepalive", "sse", "idempotencyKey", "prefer", "traceparent", "tracestate"),
        body=TurnBody, body_required=True,
        answers=_ASKED,
        problems=_ASK_PROBLEMS,
    ),
    Operation(
        path=TURNS, method="GET", head=True, handler=list_turns, scope=Scope.READ,
        summary="The turns of a session, ascending",
        parameters=("session", "afterIndex", "limit"),
        answers=(Answer(200, "One page of the list", TurnList),),
        problems=(400, 404, 406, 503),
    ),
    Operation(
        path=TURN, method="POST", handler=ask_turn, scope=Scope.TURNS, begins_session=True,
        summary="Ask for a turn, attach to it while it runs, or get its answer again",
        parameters=("session", "index", "keepalive", "sse", "prefer", "traceparent", "tracestate"),
        body=TurnBody, body_required=True,
        answers=_ASKED,
        problems=_ASK_PROBLEMS,
    ),
    Operation(
        path=TURN, method="GET", head=True, handler=get_turn, scope=Scope.READ,
        summary="A turn's record, now or when the turn has ended",
        parameters=("session", "index", "wait"),
        answers=(Answer(200, "The record", TurnRecord),),
        problems=(400, 404, 406, 409, 503),
    ),
    Operation(
        path=f"{TURN}/events", method="GET", handler=follow_turn, scope=Scope.READ,
        summary="A turn's events after a cursor, until its terminal event",
        parameters=("session", "index", "after", "lastEventId", "keepalive", "sse", "token"),
        answers=(
            Answer(200, "The events, live, one line or block each", stream=True),
            Answer(204, "An EventSource that has the terminal event: there is nothing more"),
        ),
        problems=(400, 404, 406, 409, 410, 503),
    ),
    Operation(
        path=f"{SESSIONS}/events", method="GET", handler=follow_session, scope=Scope.READ,
        summary="How the turns of a session come and go, live, for each device that shows it",
        parameters=("session", "afterChange", "lastChangeId", "keepalive", "sse", "token"),
        answers=(Answer(200, "Each change of a turn's status, one line or block each", stream=True),),
        problems=(400, 404, 406, 503),
    ),
    Operation(
        path=f"{TURN}/ledger", method="GET", head=True, handler=get_ledger, scope=Scope.READ,
        summary="The usage and cost of each ended attempt of a turn, oldest first",
        parameters=("session", "index"),
        answers=(Answer(200, "The rows of the turn's ledger", LedgerRows),),
        problems=(400, 404, 406, 409, 503),
    ),
    Operation(
        path=f"{SESSIONS}/usage", method="GET", head=True, handler=get_session_usage, scope=Scope.READ,
        summary="The sums of a session's ledger",
        parameters=("session",),
        answers=(Answer(200, "The sums", UsageSums),),
        problems=(400, 404, 406, 409, 503),
    ),
    Operation(
        path="/v1/usage", method="GET", head=True, handler=get_usage, scope=Scope.READ,
        summary="The sums of your whole ledger",
        answers=(Answer(200, "The sums", UsageSums),),
        problems=(406, 503),
    ),
    Operation(
        path=f"{TURN}/cancel", method="POST", handler=cancel_turn, scope=Scope.TURNS,
        summary="Cancel a turn, whether it waits, runs or has lost its worker",
        parameters=("session", "index"),
        body=CancelBody,
        answers=(
            Answer(200, "The turn had ended already; its record", TurnRecord),
            Answer(202, "The turn is cancelled, or its worker was told to stop; its record as it is now", TurnRecord),
        ),
        problems=(400, 403, 404, 409, 413, 415, 422, 503),
    ),
    Operation(
        path=f"{TURN}/signals/{{key}}", method="POST", handler=signal_turn, scope=Scope.TURNS,
        summary="Send a turn the signal that it waits for, or will wait for; the first signal of a key wins",
        parameters=("session", "index", "key"),
        body=SignalBody,
        answers=(
            Answer(200, "This key has a signal already, which is the answer", StoredSignal),
            Answer(202, "The signal was stored", StoredSignal),
        ),
        problems=(400, 403, 404, 409, 413, 415, 422, 503),
    ),
    Operation(
        path="/v1/tokens", method="POST", handler=make_token, scope=Scope.TOKENS,
        summary="Make a short-lived token for a browser, which opens one session or those of a prefix",
        body=TokenBody, body_required=True,
        answers=(Answer(200, "The token", SessionToken),),
        problems=(400, 404, 413, 415, 422, 503),
    ),
    Operation(
        path="/v1/tokens/revoke", method="POST", handler=revoke_tokens, scope=Scope.TOKENS,
        summary="Take back tokens before they expire; streams that began with them end",
        body=RevokeBody, body_required=True,
        answers=(Answer(200, "They are revoked", RevokedTokens),),
        problems=(400, 413, 415, 422, 503),
    ),
    Operation(
        path="/v1/models", method="GET", head=True, handler=list_models, scope=Scope.TURNS,
        summary="The models that you may ask",
        answers=(Answer(200, "The names, in the form of OpenAI's list", ModelList),),
        problems=(406,),
    ),
    Operation(
        path="/v1/info", method="GET", head=True, handler=get_info, scope=Scope.ANY,
        summary="The server's version, features and limits, and what your credentials allow",
        answers=(Answer(200, "The server", Info),),
        problems=(406,),
    ),
    *OF_OPERATORS,
    Operation(
        path="/metrics", method="GET", head=True, handler=get_metrics, scope=Scope.METRICS,
        summary="The metrics of this process and of the deployment, as Prometheus reads them",
        answers=(Answer(200, "The metrics", media_type="text/plain"),),
    ),
    Operation(
        path="/healthz", method="GET", head=True, handler=is_alive, scope=Scope.PUBLIC,
        summary="The process answers",
        answers=(Answer(200, "It does", Health),),
    ),
    Operation(
        path="/readyz", method="GET", head=True, handler=is_ready, scope=Scope.PUBLIC,
        summary="The process can accept turns",
        answers=(Answer(200, "It can", Health),),
        problems=(503,),
    ),
)  # fmt: skip
