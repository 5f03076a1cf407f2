"""What every test of the chat does: say something, and look at the answers."""

import json
from typing import Final

from tests.page.devtools import Page

VIOLATIONS: Final = """axe.run().then(({ violations }) => violations.map(
  ({ id, nodes }) => [id, nodes.map((one) => one.html + one.failureSummary)]))"""  # what axe-core has found
STATES: Final = "[...document.querySelectorAll('.turn')].map((turn) => turn.dataset.state)"


def say(page: Page, text: str) -> None:
    """Write a message and send it."""
    page.type("#message", text)
    page.press("Enter", 13)


def until_state(page: Page, state: str, turn: int = -1) -> None:
    """Wait until a turn on the page, by default the last one, is in this state."""
    page.until(f"{STATES}.at({turn}) === {json.dumps(state)}")


def until_answer(page: Page, text: str, turn: int = -1) -> None:
    """Wait until the answer of a turn on the page contains this text."""
    found = f"[...document.querySelectorAll('.turn')].at({turn})?.querySelector('.items').innerText"
    page.until(f"{found}?.includes({json.dumps(text)})")


def answer(page: Page, turn: int = -1) -> str:
    text: str = page.run(f"[...document.querySelectorAll('.turn')].at({turn}).querySelector('.items').innerText")
    return text


def messages(page: Page) -> list[str]:
    found: list[str] = page.run("[...document.querySelectorAll('.turn .bubble')].map((one) => one.innerText)")
    return found


def session(page: Page) -> str:
    found: str = page.run("decodeURIComponent(location.hash.split('/')[2])")
    return found


def press_button(page: Page, label: str, turn: int = -1) -> None:
    """Press the button with this label in a turn."""
    there = f"[...[...document.querySelectorAll('.turn')].at({turn}).querySelectorAll('button')]"
    named = f"(one.getAttribute('aria-label') ?? one.innerText) === {json.dumps(label)}"
    found = f"{there}.find((one) => one.checkVisibility() && {named})"
    page.until(f"Boolean({found})")
    page.run(f"{found}.click()")
