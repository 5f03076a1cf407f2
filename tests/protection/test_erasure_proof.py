"""After an erasure, nothing that a client or a product had said is in any key, or in the log of any process."""

from typing import Any

from stack.cluster import Stack
from tests.conformance.recorder import Recorder
from tests.protection.conftest import Talk
from tests.protection.planted import Planted
from tests.protection.sessions import Sessions
from tests.support.every_operation import ask_all
from tests.support.waiting import wait_until
from turnwire.shared import keys
from turnwire.shared.ledger import decode_row

NOWHERE = {"refused"}  # what was refused is kept nowhere from the start


async def nothing_runs(client: Any) -> None:
    """Wait until no worker runs a job, and the product has followed every erasure."""

    def is_quiet() -> bool:
        return not client.exists(keys.ERASURES) and not client.keys(keys.IN_PROGRESS_PREFIX + "*")

    await wait_until(is_quiet, "the end of all jobs", 60.0)


async def test_every_session_is_erased_whatever_its_turns_do(
    stack: Stack, client: Any, talk: Talk, plant: Planted, recorder: Recorder
):
    sessions = Sessions(talk, plant)
    sessions.make()
    assert plant.found_in_redis(client).keys() == plant.texts.keys() - NOWHERE  # or the search would find nothing
    sums = client.hgetall(keys.usage("default"))
    receipts = []
    for chat in sessions.all:
        answer = chat.http.delete(f"/v1/sessions/{chat.id}")
        assert answer.status_code == 200
        receipts.append(answer.json())
    await nothing_runs(client)
    assert plant.found_in_redis(client) == {}
    assert plant.found_in_logs(stack) == set()
    for chat in sessions.all:
        shown = ask_all(chat.http, chat.id, methods=["GET"])
        assert {name for name, answer in shown.items() if plant.found_in(answer)} == set()
    for receipt, chat in zip(receipts, sessions.all, strict=True):
        [told] = recorder.calls(receipt["id"], "on_erase")
        assert (told["sessions"], told["user"]) == ([chat.id], None)
    rows = [decode_row(fields[b"row"]) for _, fields in client.xrange(keys.LEDGER)]
    assert {row.user for row in rows} == {None}
    assert client.hgetall(keys.usage("default")).keys() >= sums.keys()


async def test_a_user_is_erased_everywhere(stack: Stack, client: Any, talk: Talk, plant: Planted, recorder: Recorder):
    sessions = Sessions(talk, plant)
    sessions.make()
    other = talk()
    other.ask(0, message="of somebody else", user="somebody else")
    receipt = other.http.delete(f"/v1/users/{sessions.user}").json()
    assert receipt["sessions"] == len(sessions.all)
    assert receipt["open_turns"] >= 2
    await nothing_runs(client)
    assert plant.found_in_redis(client) == {}
    assert plant.found_in_logs(stack) == set()
    [told] = recorder.calls(receipt["id"], "on_erase")
    assert set(told["sessions"]) == {chat.id for chat in sessions.all}
    assert told["user"] == sessions.user
    assert other.record(0)["user"] == "somebody else"
