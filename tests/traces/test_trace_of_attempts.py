"""The spans of a turn's attempts: after a crash, after a wait, and when the turn is given up."""

import httpx

from tests.support.collector import Collector
from tests.support.scene import Scene
from tests.traces.conftest import Client


async def asked(view: Scene, client: Client, **metadata: object) -> str:
    """Ask a turn without waiting for its end. Returns its path."""
    answer = view.turn()
    body = {"message": "hi", "metadata": metadata}
    async with httpx.AsyncClient(base_url=view.stack.base_urls[0]) as http:
        response = await http.post(answer.path, json=body, headers={**client.headers, "prefer": "respond-async"})
    assert response.status_code == 202, response.text
    return answer.path


async def test_a_killed_worker_s_attempt_is_shown_by_the_worker_that_takes_over(
    view: Scene, collecting: Collector, client: Client
):
    await asked(view, client, die=1, events=3)
    second = await collecting.span(client.trace_id, "turn", turnwire_attempt=2)
    first = await collecting.span(client.trace_id, "turn", turnwire_attempt=1)
    api = await collecting.span(client.trace_id, "POST /v1/sessions/{session}/turns/{index}")
    assert second.links == [(client.trace_id, first.id)]
    assert (first.parent, second.parent, first.links) == (api.id, api.id, [])
    assert first.failed
    assert (first.attributes["turnwire.outcome"], first.attributes["error.type"]) == ("crashed", "crashed")
    assert first.start_ns < first.end_ns
    assert second.attributes["turnwire.outcome"] == "completed"


async def test_no_span_is_open_while_a_turn_waits(view: Scene, collecting: Collector, client: Client):
    path = await asked(view, client, events=1, signal="approval")
    first = await collecting.span(client.trace_id, "turn", turnwire_attempt=1)
    assert (first.attributes["turnwire.outcome"], first.events, first.failed) == ("suspended", ["suspended"], False)
    async with httpx.AsyncClient(base_url=view.stack.base_urls[0]) as http:
        await http.post(f"{path}/signals/approval", json={"payload": "yes"})
    third = await collecting.span(client.trace_id, "turn", turnwire_attempt=3)
    second = await collecting.span(
        client.trace_id, "turn", turnwire_attempt=2
    )  # its events were not those of the first
    assert (second.links, second.attributes["turnwire.outcome"]) == ([(client.trace_id, first.id)], "diverged")
    assert (third.links, third.events) == ([(client.trace_id, second.id)], ["signal"])
