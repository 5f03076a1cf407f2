"""The operator's views in a real browser: workers and leases as they are now, all turns, one turn, and actions."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from stack.cluster import Stack
from tests.page.conftest import HOOKS
from tests.page.devtools import Browser, Page, Room
from tests.page.talk import VIOLATIONS

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]

TEXT = "document.querySelector('#operations').innerText"


class Operator:
    """A tab with the operator's views, and a client that asks turns."""

    def __init__(self, page: Page, stack: Stack) -> None:
        self.page = page
        self.stack = stack
        self._http = httpx.Client(base_url=stack.base_urls[0], trust_env=False, timeout=30)

    def close(self) -> None:
        self._http.close()

    def ask(self, session: str, message: str, project: str | None = None) -> str:
        """Ask a turn. Returns its run id."""
        body = {"message": message, "project": project}
        answer = self._http.post(f"/v1/sessions/{session}/turns", json=body, headers={"Accept": "application/json"})
        run_id: str = answer.json()["run_id"]
        return run_id

    def record(self, session: str, wait_s: int = 20) -> dict[str, object]:
        found: dict[str, object] = self._http.get(f"/v1/sessions/{session}/turns/0?wait={wait_s}").json()
        return found

    def show(self, path: str = "") -> None:
        self.page.run(f"location.hash = '#/operations{path}'")

    def sees(self, text: str) -> None:
        """Wait until the view shows this text."""
        self.page.until(f"{TEXT}.includes({json.dumps(text)})")

    def press(self, name: str, inside: str = "#operations") -> None:
        """Press the button with this name, and confirm it if it asks."""
        named = f"(one.getAttribute('aria-label') ?? one.innerText).startsWith({json.dumps(name)})"
        found = f"[...document.querySelectorAll('{inside} button')].find((one) => {named})"
        self.page.until(f"Boolean({found})")
        self.page.run(f"{found}.click()")

    def confirm(self) -> None:
        self.page.click("dialog button[value=yes]")
        self.page.until("!document.querySelector('dialog')")


@pytest.fixture(scope="module")
def stack(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("operations"), workers=2, env=HOOKS | {"TURNWIRE_DRAIN_S": "5"}) as stack:
        yield stack
        assert "Traceback" not in stack.api[0].log()


@pytest.fixture(scope="module")
def office(stack: Stack, browser: Browser) -> Room:
    return Room(browser, stack.base_urls[0])


@pytest.fixture
def operator(stack: Stack, office: Room) -> Iterator[Operator]:
    with office.page("/#/operations") as page:
        page.until("document.querySelectorAll('.worker').length === 2")
        with closing(Operator(page, stack)) as view:
            yield view
        assert page.complaints == []


def test_it_tells_which_worker_runs_a_turn_why_another_one_waits_and_what_one_cost(operator: Operator, tmp_path: Path):
    gate = tmp_path / "gate"
    running = operator.ask("runs", f"gate {gate}", "legal")
    waiting = operator.ask("runs", "work")
    operator.ask("costs", "work")
    operator.sees("runs #0")
    page = operator.page
    assert page.run("document.querySelectorAll('.slots .used').length") >= 1
    assert page.run("document.querySelector('.lease .small').innerText").endswith(" s")

    operator.show(f"/turns/{quote(running, safe='')}")
    worker = page.until("document.querySelector('.facts-list dd code')?.innerText")
    assert worker in page.run("fetch('v1/admin/workers').then((all) => all.text())")
    operator.show(f"/turns/{quote(waiting, safe='')}")
    operator.sees(f"waits for the end of {running}")
    gate.touch()
    page.until("fetch('v1/admin/workers').then((all) => all.text()).then((all) => /events.:[1-9]/.test(all))")
    operator.sees("0.004200 EUR")
    assert page.run("document.querySelectorAll('.timeline rect').length") >= 4
    operator.sees("search the archive")
    operator.sees("1200 → 85")


def test_turns_are_filtered_and_searched(operator: Operator):
    operator.ask("needle", "work", "tax")
    operator.ask("other", "fail")
    operator.show("/turns")
    operator.sees("needle #0")
    operator.page.type("[name=q]", "out_of_paper")
    operator.page.until(f"{TEXT}.includes('other #0') && !{TEXT}.includes('needle #0')")
    operator.page.run("document.querySelector('[name=q]').value = ''")
    operator.page.type("[name=project]", "tax")
    operator.page.until(f"!{TEXT}.includes('other #0') && {TEXT}.includes('needle #0')")
    operator.page.type("[name=tenant]", "nobody")
    operator.sees("No turn fits.")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_axe_finds_nothing_and_nothing_is_wider_than_a_phone(operator: Operator, axe: str, scheme: str, tmp_path: Path):
    gate = tmp_path / "gate"
    run_id = operator.ask(f"axe-{scheme}", f"gate {gate}", "legal")
    page = operator.page
    page.scheme(scheme)
    page.run(f"{axe};0")
    for path in ("", "/turns", f"/turns/{quote(run_id, safe='')}"):
        operator.show(path)
        operator.sees(f"axe-{scheme} #0")
        assert page.run(VIOLATIONS) == []
        page.resize(360, 700)
        assert page.run("document.querySelector('#operations').scrollWidth <= 360")
        page.resize(1200, 800)
    gate.touch()
    assert operator.record(f"axe-{scheme}")["status"] == "completed"


def test_cancel_and_requeue(operator: Operator, tmp_path: Path):
    gate = tmp_path / "gate"
    run_id = operator.ask("stops", f"gate {gate}")
    operator.show(f"/turns/{quote(run_id, safe='')}")
    operator.sees("as attempt 1")
    operator.press("Requeue")
    operator.confirm()
    assert operator.record("stops", 0)["status"] == "running"
    operator.press("Cancel")
    operator.page.type("dialog input", "it is late")
    operator.confirm()
    operator.sees("it is late")
    assert operator.record("stops")["status"] == "cancelled"


def test_a_worker_is_killed_while_its_turn_is_looked_at(operator: Operator, tmp_path: Path):
    gate = tmp_path / "gate"
    run_id = operator.ask("killed", f"gate {gate}")
    operator.sees("killed #0")
    holder = "[...document.querySelectorAll('.worker')].find((one) => one.innerText.includes('killed #0')).ariaLabel"
    name = operator.page.run(holder).removeprefix("Worker ")
    operator.press(f"Kill {name}")
    service = next(one for one in operator.stack.worker if one.pid == int(name.split("/")[1]))
    assert service.wait(10) == -9
    operator.show(f"/turns/{quote(run_id, safe='')}")
    operator.sees("as attempt 2")
    gate.touch()
    assert operator.record("killed")["status"] == "completed"
    service.start()


def test_a_paused_project_waits_until_it_is_resumed(operator: Operator):
    operator.page.type("form [aria-label='Its name']", "tax")
    operator.page.press("Enter", 13)
    operator.confirm()
    operator.sees("The project tax is paused")
    run_id = operator.ask("paused", "work", "tax")
    operator.show(f"/turns/{quote(run_id, safe='')}")
    operator.sees("waits until the project tax is resumed")
    operator.show()
    operator.press("Resume the project tax")
    operator.confirm()
    assert operator.record("paused")["status"] == "completed"
