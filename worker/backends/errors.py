"""The errors of a call to a model server.

BackendTransportError         no response, or one that is not 2xx
├── BackendTruncatedError     the answer began and stopped before its end
├── BackendReportedError      the server reported an error inside its answer
└── BackendProtocolError      the answer is not what the protocol allows

UnknownModelError stands apart: no server was asked.

Messages reach clients, so they never name hosts. The server's own words are kept apart, in `body`.
"""

from typing import Final

from turnwire.shared.errors import TurnFailure
from turnwire.worker.backends.reasons import Reason

BODY_LIMIT_BYTES: Final = 2048


class UnknownModelError(TurnFailure):
    """The client has named a model that it may not ask, or that this worker does not know. No model was asked."""

    code = "unknown_model"


class BackendTransportError(TurnFailure):
    """Ends a turn whose model call failed.

    Attributes:
        kind: the backend's name.
        status: the HTTP status; 0: there was no response.
        body: at most 2 KiB of the server's response.
        retry_after_ms: how long the server asks to wait before the next request; None: it does not ask.
        reason: why the server refused, if that can be told: `auth`, `quota`, `rate_limit`, `context_length`,
            `model_not_found`, `overloaded` or `content_filter`. Clients read it in place of `code`.
    """

    code = "backend_transport"

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        status: int,
        retryable: bool,
        body: bytes | str = b"",
        retry_after_ms: int | None = None,
        reason: Reason | None = None,
    ) -> None:
        super().__init__(message, retryable=retryable)
        self.kind = kind
        self.status = status
        raw = body.encode("utf-8", "replace") if isinstance(body, str) else body
        self.body = raw[:BODY_LIMIT_BYTES].decode("utf-8", "ignore")  # "replace" could make it longer than the limit
        self.retry_after_ms = retry_after_ms
        self.reason = reason
        if retry_after_ms is not None:
            self.retry_after_s = retry_after_ms / 1000

    @property
    def told_code(self) -> str:
        """The code that clients read: the reason of the refusal if it is known."""
        return self.reason or self.code

    @property
    def detail(self) -> str:
        """What the log says beside the message, on one line: the server's own words, and the cause."""
        words = " ".join(self.body.split())
        cause = self.__cause__
        said = f"; the server said: {words!r}" if words else ""
        return said + (f"; cause: {type(cause).__name__}: {' '.join(str(cause).split())}" if cause else "")


class BackendTruncatedError(BackendTransportError):
    """The answer began and then stopped: end of body without an end marker, a reset, or a long silence."""

    code = "backend_truncated"


class BackendReportedError(BackendTransportError):
    """The server answered 200 and then put an error into its stream."""

    code = "backend_error"


class BackendProtocolError(BackendTransportError):
    """A part of the answer is not JSON, is too large, or has an unknown form."""

    code = "backend_protocol"
