"""Sessions in every state in which an erasure can meet them, with planted text in every place where content can go."""

from collections.abc import Callable
from typing import Any

from tests.conformance.conversation import Conversation, say
from tests.protection.planted import Planted


def early(plant: Planted) -> list[dict[str, Any]]:
    """What each turn does first: one event and one step of each kind."""
    return [
        say(plant("delta")),
        {"step": "look-up", "gives": {"found": plant("step result")}, "input": plant("step input")},
        {"stream": "model", "says": [plant("stream step")]},
        {"event": {"type": "tool.call", "data": {"arguments": plant("event")}}},
        {"signal": "early"},
    ]


class Sessions:
    """Asks the turns. `talk` makes conversations; `user` is the user of them all."""

    def __init__(self, talk: Callable[[], Conversation], plant: Planted) -> None:
        self.plant = plant
        self.user = plant("user")
        self._talk = talk
        self.all: list[Conversation] = []

    def make(self) -> None:
        """Ask every turn, and wait until each is in its state."""
        for state in (self.completed, self.failed, self.raised, self.cancelled, self.suspended, self.running):
            state()
        self.pending()
        self.refused()

    def _order(self, *rest: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"play": [*early(self.plant), *rest], "note": self.plant("metadata"), **more}

    def _begin(self, chat: Conversation, order: dict[str, Any], index: int = 0) -> None:
        """Ask a turn with a key of its own, and send the signal that it begins with."""
        self.all.append(chat)
        body = chat.body(order, message=self.plant("message"), user=self.user, domain=self.plant("domain"))
        headers = {"Prefer": "respond-async", "Idempotency-Key": self.plant("idempotency-key")}
        assert chat.http.post(chat.turns, json=body, headers=headers).status_code == 202
        signal = {"payload": {"text": self.plant("signal")}}
        assert chat.http.post(chat.path(index, "/signals/early"), json=signal).status_code == 202

    def completed(self) -> None:
        chat = self._talk()
        self._begin(chat, self._order({"final_text": self.plant("final text")}))
        assert chat.finished(0)["status"] == "completed"
        chat.ask(1, {"play": [{"history": True}]}, message=self.plant("second message"), user=self.user)

    def failed(self) -> None:
        chat = self._talk()
        failure = {"kind": "failure", "message": self.plant("failure"), "code": "no_luck", "retryable": False}
        self._begin(chat, self._order({"raise": failure}))
        assert chat.finished(0)["status"] == "failed"

    def raised(self) -> None:
        """A turn that failed with an `error` event of its own, and an answer that was left of it."""
        chat = self._talk()
        error = {"type": "error", "data": {"message": self.plant("error event"), "code": "odd", "retryable": True}}
        self._begin(chat, self._order({"event": error}))
        assert chat.finished(0)["status"] == "failed"

    def cancelled(self) -> None:
        chat = self._talk()
        self._begin(chat, self._order({"hold": chat.hold("cancel")}))
        chat.recorder.wait_held(chat.hold("cancel"))
        answer = chat.http.post(chat.path(0, "/cancel"), json={"reason": self.plant("cancel reason")})
        assert answer.status_code == 202
        assert chat.finished(0)["status"] == "cancelled"

    def suspended(self) -> None:
        chat = self._talk()
        self._begin(chat, self._order({"signal": "never"}))
        with chat.follow(0) as reading:
            reading.until("session.run.suspended")

    def running(self) -> None:
        """A turn that runs, one that waits behind it, and one of them cancelled while it waits."""
        chat = self._talk()
        self._begin(chat, self._order({"hold": chat.hold("running")}))
        chat.recorder.wait_held(chat.hold("running"))
        for index in (1, 2):
            chat.submit(index, message=self.plant("queued message"), user=self.user)
        chat.http.post(chat.path(2, "/cancel"), json={"reason": self.plant("queued cancel reason")})

    def pending(self) -> None:
        """Turns whose answers the product cannot store; one of the answers could not even be transformed."""
        for name in ("persist", "transform"):
            chat = self._talk()
            self._begin(chat, self._order(say(self.plant(f"{name} text")), **{name: "raise"}))
            assert chat.finished(0)["persist"] == "pending"

    def refused(self) -> None:
        """Requests that are refused; what they name must not be kept anywhere."""
        chat = self._talk()
        self._begin(chat, self._order())
        chat.finished(0)
        text = self.plant("refused")
        http, headers = chat.http, {"Idempotency-Key": self.plant("idempotency-key")}
        statuses = [
            http.post(chat.turns, json=chat.body(message=text), headers=headers).status_code,
            http.post(chat.path(0), json=chat.body(message=text)).status_code,
            http.post(chat.path(1), json=chat.body(message=text, metadata={"much": text * 2000})).status_code,
            http.post(chat.path(1), json={"message": [text]}).status_code,
            http.post(chat.path(1), content=f'{{"message": "{text}'.encode()).status_code,
            http.post(chat.path(0, "/signals/late"), json={"payload": text}).status_code,
            http.post(chat.path(0, "/cancel"), json={"reason": text * 100}).status_code,
            http.get(chat.path(0, "/events"), params={"after": text}).status_code,
            http.get(f"/{text}").status_code,
        ]
        assert all(400 <= status < 500 for status in statuses), statuses
