"""A client's request for a turn."""

from typing import Any, Final, Literal

import msgspec

from turnwire.shared import identity
from turnwire.shared.content import Content
from turnwire.shared.keys import TurnKey
from turnwire.shared.lanes import DEFAULT_LANE, Lane

OnBusy = Literal["enqueue", "reject", "interrupt", "concurrent"]
NO_PARENT: Final = -1  # the parent of a turn that begins a conversation
_TEXTS: Final = ("project", "domain", "model", "user", "on_busy", "callback", "traceparent", "tracestate", "request_id")


class TurnRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A client's request. A field that the client left out is None, and counts as null in the input hash."""

    message: Content
    parent: int | None = None  # the index of the turn that this one follows; NO_PARENT: none; None: the default
    project: str | None = None
    domain: str | None = None
    model: str | None = None
    user: str | None = None
    options: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    on_busy: OnBusy = "enqueue"
    callback: str | None = None  # the URL that is told of the end of the turn
    traceparent: str | None = None
    tracestate: str | None = None
    request_id: str | None = None  # of the HTTP request, for logs
    lane: Lane = DEFAULT_LANE
    bound: bool = False  # the session must be this user's, or new: then it becomes this user's

    def input_hash(self, key: TurnKey) -> str:
        """Return the hash of the input that this request gives to a turn."""
        return identity.input_hash(
            key,
            message=self.message,
            project=self.project,
            domain=self.domain,
            model=self.model,
            parent=self.parent,
            options=self.options,
        )

    def fields(self) -> dict[str, str | bytes]:
        """Return the request's fields of the turn hash, without the absent ones."""
        fields: dict[str, str | bytes] = {name: value for name in _TEXTS if (value := getattr(self, name)) is not None}
        if isinstance(self.message, str):
            fields["message"] = self.message
        else:
            fields["content"] = msgspec.json.encode(self.message)
        if self.options is not None:
            fields["options"] = msgspec.json.encode(self.options)
        if self.metadata is not None:
            fields["metadata"] = msgspec.json.encode(self.metadata)
        if self.parent is not None:
            fields["parent"] = str(self.parent)
        return fields | self.lane.fields()
