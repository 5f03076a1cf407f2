"""An API process is really killed while it does what somebody asked. No deed is without its entry in the audit."""

import httpx
import msgspec
import pytest

from stack.process import answers
from tests.support.scene import Scene
from tests.support.struck import crashing_api
from tests.support.waiting import LIMIT_S, wait_until
from turnwire.shared import keys
from turnwire.shared.keys import TurnKey
from turnwire.shared.store.audit import AuditEntry

DEEDS = [
    ("cancel:1:before", "cancel", False),
    ("cancel:1:after", "cancel", True),
    ("signal:1:after", "signals/go", True),
]


@pytest.mark.parametrize(("at", "path", "is_done"), DEEDS)
async def test_no_deed_is_without_its_entry(view: Scene, at: str, path: str, is_done: bool):
    async def has_status(status: str) -> bool:
        return await view.status(answer) == status

    answer = view.turn(gate={"0": str(view.gate())})
    view.ask(answer)
    await view.called(answer, "produce")
    service, url = crashing_api(view, at)
    service.start()
    await wait_until(lambda: answers(f"{url}/readyz"), "the faulty API")
    async with httpx.AsyncClient(base_url=url) as http:
        with pytest.raises(httpx.TransportError):
            await http.post(f"{answer.path}/{path}", json={})
    assert service.wait(LIMIT_S) == -9
    [(_, fields)] = await view.redis.xrange(keys.AUDIT)
    entry = msgspec.json.decode(fields[1], type=AuditEntry)
    assert (entry.session_id, entry.action) == (answer.session, at.split(":", maxsplit=1)[0])
    if path == "cancel" and is_done:
        await wait_until(lambda: has_status("cancelled"), "the turn is cancelled")
    else:
        assert await has_status("running")
        assert bool(await view.redis.exists(TurnKey.parse(answer.run_id).signals)) is is_done
