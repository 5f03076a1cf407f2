"""The audit stream: who asked for an erasure, a cancel or a signal."""

import httpx

from tests.conformance.conversation import Conversation
from tests.conformance.problem import check_problem
from turnwire.shared.identity import user_digest


def entries_of(chat: Conversation) -> list[dict[str, object]]:
    """The entries of this conversation, and of its user; on as many pages as it takes."""
    found, after = [], ""
    while True:
        answer = chat.http.get("/v1/admin/audit", params={"after": after, "limit": 100} if after else {})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [stored["entry"] for stored in page["entries"]]
        after = page["next"]
        if after is None:
            digest = user_digest("default", chat.id)
            return [entry for entry in found if chat.id == entry.get("session_id") or digest in entry.values()]


def test_it_says_who_asked_for_what(chat: Conversation):
    who = {"tenant_id": "default", "key": "anybody"}
    named = {"X-Request-Id": "r-1"}
    chat.ask(0, {"play": []}, user=chat.id)
    chat.http.post(chat.path(0, "/cancel"), headers=named)
    chat.submit(1, {"play": [{"signal": "go"}]})
    chat.http.post(chat.path(1, "/signals/go"), json={"payload": "secret"})
    chat.finished(1)
    chat.http.delete(f"/v1/users/{chat.id}")
    chat.http.delete(f"/v1/sessions/{chat.id}", headers={"X-Request-Id": "not\tone"})
    found = entries_of(chat)
    ids = [entry["request_id"] for entry in found]
    assert ids[0] == "r-1"
    assert len(set(ids)) == 4, "a request without an id, or with a wrong one, gets one"
    assert "not\tone" not in ids
    assert [{name: value for name, value in entry.items() if name != "request_id"} for entry in found] == [
        who | {"action": "cancel", "session_id": chat.id, "turn_index": 0},
        who | {"action": "signal", "session_id": chat.id, "turn_index": 1, "signal": "go"},
        who | {"action": "erase_user", "erased_user_digest": user_digest("default", chat.id)},
        who | {"action": "erase_session", "session_id": chat.id},
    ]


def test_a_page_that_there_is_not_is_refused(http: httpx.Client):
    check_problem(http.get("/v1/admin/audit", params={"after": "yesterday"}), 400, "bad_request")
