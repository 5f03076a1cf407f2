"""The trace of a turn, from the client's span to the callback, as a collector gets it from real processes."""

import httpx

from tests.support.collector import Collector
from tests.support.scene import Scene
from tests.support.waiting import wait_until
from tests.traces.conftest import Client
from tests.worker.backends.rawserver import HEAD, RawServer, raw_server, reply, sse

USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def chunk(content: str, finish_reason: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "model": "tiny-2026", "choices": [choice]}


async def test_one_turn_is_one_tree(view: Scene, collecting: Collector, client: Client):
    async with raw_server() as model:
        model.play(reply(503))
        model.play(HEAD, sse(chunk("PLANTED"), chunk(" answer", "stop"), USAGE, "[DONE]"))
        path, run_id = await ask(view, client, model, f"{collecting.url}/callback?token=PLANTED")
    t = client.trace_id
    api = await collecting.span(t, "POST /v1/sessions/{session}/turns/{index}")
    turn = await collecting.span(t, "turn")
    step = await collecting.span(t, "step answer")
    [refused, answered] = await wait_until(lambda: collecting.named(t, "chat tiny"), "the model's spans")
    inside = (await wait_until(lambda: collecting.named(t, "inside the step"), "the product's spans"))[0]
    between = collecting.named(t, "between events")[0]
    in_thread, look_up = await collecting.span(t, "product.look_up"), await collecting.span(t, "step look up")
    persist = await collecting.span(t, "persist")
    callback = await collecting.span(t, "POST callback")

    assert (api.parent, api.kind, api.service) == (client.span_id, "server", "turnwire-api")
    assert (turn.parent, turn.kind, turn.service) == (api.id, "consumer", "turnwire-worker")
    assert [span.parent for span in (step, look_up, between)] == [turn.id] * 3
    assert [span.parent for span in (refused, answered, inside)] == [step.id] * 3
    assert in_thread.parent == look_up.id
    assert (persist.parent, persist.links) == (api.id, [(t, turn.id)])
    assert (callback.parent, callback.links, callback.kind) == (api.id, [(t, turn.id)], "client")

    assert (
        api.attributes.items()
        >= {
            "http.request.method": "POST",
            "http.route": "/v1/sessions/{session}/turns/{index}",
            "url.path": path,
            "url.scheme": "http",
            "http.response.status_code": 200,
            "turnwire.run_id": run_id,
        }.items()
    )
    assert (
        turn.attributes.items()
        >= {
            "turnwire.run_id": run_id,
            "turnwire.attempt": 1,
            "turnwire.tenant": "default",
            "turnwire.project": "traced",
            "turnwire.outcome": "completed",
            "turnwire.tokens_in": 7,
        }.items()
    )
    assert refused.failed
    assert refused.attributes["error.type"] == "503"
    assert (
        answered.attributes.items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "tiny",
            "gen_ai.request.temperature": 0.5,
            "gen_ai.response.model": "tiny-2026",
            "gen_ai.response.id": "chatcmpl-1",
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.output_tokens": 3,
            "server.address": "127.0.0.1",
        }.items()
    )
    assert answered.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert [request.headers["traceparent"].split("-")[1:3] for request in model.requests] == [
        [t, refused.id], [t, answered.id],
    ]  # fmt: skip
    [told] = collecting.told
    assert (told["traceparent"], told["tracestate"]) == (f"00-{t}-{callback.id}-01", "vendor=abc")
    assert callback.attributes["http.response.status_code"] == 200
    assert b"PLANTED" not in collecting.received


async def ask(view: Scene, client: Client, model: RawServer, callback: str) -> tuple[str, str]:
    answer = view.turn()
    body = {
        "message": "PLANTED message",
        "project": "traced",
        "metadata": {"llm": model.url},
        "callback": callback,
    }
    async with httpx.AsyncClient(base_url=view.stack.base_urls[0]) as http:
        response = await http.post(answer.path, json=body, headers=client.headers)
    assert response.status_code == 200, response.text
    assert "session.run.completed" in response.text, response.text
    return answer.path, answer.run_id


async def test_a_turn_whose_client_samples_it_out_has_no_spans(view: Scene, collecting: Collector, client: Client):
    unsampled = Client(sampled=False)
    for asked in (unsampled, client):
        async with httpx.AsyncClient(base_url=view.stack.base_urls[0], headers=asked.headers) as http:
            await http.post(view.turn().path, json={"message": "hi", "metadata": {"events": 1}})
    await collecting.span(client.trace_id, "turn")
    assert collecting.of(unsampled.trace_id) == []


async def test_without_a_client_s_trace_the_record_names_the_one_of_the_turn(view: Scene, collecting: Collector):
    answer = view.turn()
    async with httpx.AsyncClient(base_url=view.stack.base_urls[0]) as http:
        await http.post(answer.path, json={"message": "hi"}, headers={"traceparent": "00-broken-01"})
        record = (await http.get(answer.path)).json()
    api = await collecting.span(record["traceparent"].split("-")[1], "POST /v1/sessions/{session}/turns/{index}")
    turn = await collecting.span(api.trace_id, "turn")
    assert (api.parent, turn.parent) == ("", api.id)
