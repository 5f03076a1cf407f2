"""The chat in a real browser: streams, reloads, takeovers, stops, approvals, branches, devices, lost connections."""

import os
import signal
from pathlib import Path

import httpx
import pytest
import redis

from stack.cluster import Stack
from tests.page.devtools import Browser, Page
from tests.page.talk import answer, messages, press_button, say, session, until_answer, until_state
from turnwire.shared.keys import TurnKey

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]


def test_an_answer_streams_and_a_reload_in_the_middle_of_it_loses_nothing(page: Page, tmp_path: Path):
    gate = tmp_path / "gate"
    say(page, f"gate {gate}")
    until_answer(page, "The first half of attempt 1,")
    until_state(page, "running")
    page.reload()
    until_answer(page, "The first half of attempt 1,")
    until_state(page, "running")
    gate.touch()
    until_state(page, "completed")
    assert answer(page) == "The first half of attempt 1, and the second half."
    page.reload()
    until_answer(page, "and the second half.")
    assert messages(page) == [f"gate {gate}"]


def test_a_takeover_is_shown_as_it_happens(page: Page, page_stack: Stack, tmp_path: Path):
    gate = tmp_path / "gate"
    say(page, f"gate {gate}")
    until_answer(page, "attempt 1")
    assert page_stack.redis is not None
    with redis.Redis.from_url(page_stack.redis.url) as client:
        holder = client.get(TurnKey.parse(f"chat:{session(page)}:0").lease)
    assert isinstance(holder, bytes)
    worker = next(one for one in page_stack.worker if one.running and one.pid == int(holder.split(b"/")[1]))
    os.kill(worker.pid, signal.SIGKILL)
    try:
        until_answer(page, "The first half of attempt 2,")
        assert "Another one took over · attempt 2" in answer(page)
        assert "attempt 1" not in answer(page)
        gate.touch()
        until_state(page, "completed")
    finally:
        worker.wait(10)
        worker.start()


def test_stop_ends_the_turn_and_it_can_be_asked_again(page: Page, tmp_path: Path):
    gate = tmp_path / "gate"
    say(page, f"gate {gate}")
    until_answer(page, "The first half")
    press_button(page, "Stop this answer")
    until_state(page, "cancelled")
    gate.touch()
    press_button(page, "Try again")
    until_state(page, "completed")
    assert "and the second half." in answer(page)


def test_a_failed_turn_says_why_and_offers_another_try(page: Page):
    say(page, "fail")
    until_state(page, "failed")
    shown = page.run("document.querySelector('.turn .problem').innerText")
    assert "out_of_paper" in shown
    assert "The printer is empty" in shown
    press_button(page, "Try again")
    until_answer(page, "The turn was asked again · attempt 2")
    until_state(page, "failed")
    assert answer(page).endswith("I begin, but")


@pytest.mark.parametrize(("button", "result"), [("Approve", "12.00 were paid back"), ("Deny", "refused: too much")])
def test_a_tool_call_waits_for_the_users_decision(page: Page, button: str, result: str):
    say(page, "refund")
    until_state(page, "suspended")
    assert "refund waits for your answer" in answer(page)
    page.reload()  # also a page that was opened later can answer
    until_state(page, "suspended")
    if button == "Deny":
        page.type(".question input", "too much")
    press_button(page, button)
    until_state(page, "completed")
    assert answer(page).endswith(f"Done: {result}.")
    assert "Continued after the signal" in answer(page)


def test_reasoning_is_folded(page: Page):
    say(page, "think")
    until_state(page, "completed")
    assert "Forty-two." in answer(page)
    assert "short answer" not in answer(page)
    page.run("document.querySelector('.items summary').click()")
    until_answer(page, "short answer")


def test_another_answer_and_an_edited_message_are_branches(page: Page, page_stack: Stack):
    say(page, "first")
    until_state(page, "completed")
    say(page, "second")
    until_state(page, "completed", 1)
    press_button(page, "Answer again", 0)
    page.until("document.querySelectorAll('.turn').length === 1")
    until_state(page, "completed")
    pager = "document.querySelector('.turn .meta .pager').innerText.trim()"
    page.until(f"{pager} === '2/2'")
    press_button(page, "Previous answer", 0)
    page.until("document.querySelectorAll('.turn').length === 2")
    assert messages(page) == ["first", "second"]

    press_button(page, "Edit the message", 1)
    page.run("document.querySelector('.edit textarea').value = ''")
    page.type(".edit textarea", "another second")
    page.press("Enter", 13)
    page.until("[...document.querySelectorAll('.turn .bubble')].at(1)?.innerText === 'another second'")
    until_state(page, "completed", 1)
    page.reload()
    page.until("document.querySelectorAll('.turn').length === 2")
    assert messages(page) == ["first", "another second"]
    press_button(page, "Previous message", 1)
    page.until("[...document.querySelectorAll('.turn .bubble')].at(1)?.innerText === 'second'")

    turns = httpx.get(f"{page_stack.base_urls[0]}/v1/sessions/{session(page)}/turns", trust_env=False).json()["turns"]
    assert [(turn["message"], turn["parent"]) for turn in turns] == [
        ("first", -1), ("second", 0), ("first", -1), ("another second", 0),
    ]  # fmt: skip


def test_two_devices_hear_of_what_a_third_one_does_and_a_hidden_one_when_it_is_shown_again(
    page: Page, page_stack: Stack, browser: Browser, tmp_path: Path
):
    say(page, "first")
    until_state(page, "completed")
    turns = f"{page_stack.base_urls[0]}/v1/sessions/{session(page)}/turns"
    with browser.page(f"{page_stack.base_urls[0]}/#/chat/{session(page)}") as other:
        until_answer(other, "answers “first”")
        lists = "performance.getEntriesByType('resource').filter(({ name }) => name.includes('/turns?limit')).length"
        before = page.run(lists)
        ask_elsewhere(turns, f"gate {tmp_path / 'gate'}")
        for device in (page, other):
            until_answer(device, "The first half", 1)
        httpx.post(f"{turns}/1/cancel", trust_env=False).raise_for_status()
        for device in (page, other):
            until_state(device, "cancelled", 1)
        hide(other, hidden=True)
        press_button(page, "Try again")
        until_answer(page, "attempt 2", 1)
        (tmp_path / "gate").touch()
        until_state(page, "completed", 1)
        ask_elsewhere(turns, "last")
        until_state(page, "completed", 2)
        assert other.run("document.querySelectorAll('.turn').length") == 2
        hide(other, hidden=False)
        until_state(other, "completed", 1)
        until_state(other, "completed", 2)
        assert page.run(lists) - before < 12, "it reads the list when something has changed, and not all the time"
        page.click("#erase")
        page.click("dialog button[value=yes]")
        other.until("document.querySelectorAll('.turn').length === 0")
        assert other.complaints == []


def ask_elsewhere(turns: str, message: str) -> None:
    answer = httpx.post(turns, json={"message": message}, headers={"Prefer": "respond-async"}, trust_env=False)
    assert answer.status_code in {200, 202}, answer.text  # 200: the turn has ended already


def hide(page: Page, *, hidden: bool) -> None:
    """Let the page believe that its tab is hidden, or shown again."""
    page.run(f"Object.defineProperty(document, 'hidden', {{ configurable: true, value: {str(hidden).lower()} }})")
    page.run("document.dispatchEvent(new Event('visibilitychange'))")


def test_a_lost_connection_is_shown_and_the_stream_goes_on(page: Page, tmp_path: Path):
    gate = tmp_path / "gate"
    say(page, f"gate {gate}")
    until_answer(page, "The first half")
    page.offline(True)
    page.send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    say(page, "while it is away")
    page.until("document.querySelector('#offline').checkVisibility()")
    gate.touch()
    page.offline(False)
    page.until("!document.querySelector('#offline').checkVisibility()")
    until_state(page, "completed", 0)
    until_state(page, "completed", 1)
    assert answer(page, 0) == "The first half of attempt 1, and the second half."
    assert messages(page)[1:] == ["while it is away"]


def test_an_api_that_is_killed_and_started_again_costs_nothing(page: Page, page_stack: Stack, tmp_path: Path):
    gate = tmp_path / "gate"
    say(page, f"gate {gate}")
    until_answer(page, "The first half")
    page_stack.api[0].kill()
    page.until("document.querySelector('#offline').checkVisibility()")
    gate.touch()
    page_stack.api[0].start()
    page_stack.wait_api(0)
    until_state(page, "completed")
    until_answer(page, "The first half of attempt 1, and the second half.")
    page.until("!document.querySelector('#offline').checkVisibility()")
    assert page.run("document.querySelector('#problem').innerText") == ""


def test_several_sessions_are_kept_apart_and_a_chosen_theme_stays(page: Page):
    say(page, "think")
    until_state(page, "completed")
    page.click("#new")
    page.until("document.querySelector('#welcome').checkVisibility()")
    page.type("#message", "a draft")
    theme = page.run("document.documentElement.dataset.theme")
    page.click("#theme")
    page.reload()
    page.until("document.querySelector('#message')?.value === 'a draft'")
    assert page.run("document.documentElement.dataset.theme") != theme
    page.run("document.querySelector('#message').focus()")
    page.press("Enter", 13)
    until_answer(page, "answers “a draft”")
    assert page.run("[...document.querySelectorAll('#sessions a')].map((one) => one.innerText)") == ["a draft", "think"]

    page.run("[...document.querySelectorAll('#sessions a')].at(1).click()")
    until_answer(page, "Forty-two.")
    assert messages(page) == ["think"]
    press_button(page, "Show how this answer came about")
    page.until("document.querySelector('.items summary')?.innerText.includes('Reasoning')")
