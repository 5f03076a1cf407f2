"""Drives a Chromium without a window by the DevTools protocol, over a pipe. Everything here is synchronous."""

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from tests.clients.chromium import FLAGS

LIMIT_S: Final = 20.0
ONE_RENDERER: Final = "--renderer-process-limit=1"  # tabs share it, but not their storage
STEP_MS: Final = 20  # so often a condition is looked at, in the page itself
SHELL: Final = 'exec "$@" 3<&$IN 4>&$OUT'  # the browser reads from 3 and writes to 4


class DevToolsError(Exception):
    """The browser refused a command, a script of the test raised, or nothing came in time."""


class Browser:
    """A context manager around one process of Chromium."""

    def __init__(self, chromium: str, profile: Path) -> None:
        flags = [flag for flag in FLAGS if not flag.startswith("--remote-debugging")]
        flags += ["--remote-debugging-pipe", ONE_RENDERER]
        self._argv = [chromium, *flags, f"--user-data-dir={profile}", "about:blank"]
        self._number = 0
        self._buffer = b""
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Self:
        to_browser, self._commands = os.pipe()
        self._messages, from_browser = os.pipe()
        env = os.environ | {"IN": str(to_browser), "OUT": str(from_browser)}
        self._process = subprocess.Popen(
            ["bash", "-c", SHELL, "bash", *self._argv], env=env, pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._messages)

    @contextmanager
    def page(self, url: str = "about:blank", *, width: int = 1200, height: int = 800) -> Iterator["Page"]:
        """Open a tab in a context of its own: no other tab shares its storage."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        page = self.tab(context)
        try:
            page.resize(width, height)
            page.open(url)
            yield page
        finally:
            self.send("Target.disposeBrowserContext", browserContextId=context)

    def tab(self, context: str, url: str = "about:blank") -> "Page":
        """Open one more tab in a context."""
        target = self.send("Target.createTarget", url=url, browserContextId=context)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        return page

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer."""
        number = self.post(method, session, **parameters)
        deadline = time.monotonic() + LIMIT_S
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise DevToolsError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            if "method" in answer and (page := self._pages.get(answer.get("sessionId", ""))) is not None:
                page.noted(answer)

    def post(self, method: str, session: str | None = None, **parameters: Any) -> int:
        """Send a command whose answer nobody waits for. Returns its number."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        return self._number

    def _next(self, deadline: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._messages], [], [], max(0, deadline - time.monotonic()))[0]:
                raise DevToolsError(f"{method}: no answer within {LIMIT_S:g} s")
            data = os.read(self._messages, 1 << 20)
            if not data:
                raise DevToolsError(f"{method}: the browser has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


class Room:
    """A context of its own for one tab after the other, on one server. Each of them finds the storage empty.

    One more tab stays open, and with it the process of the browser: to start another one for each tab, and to compile
    the page in it again, costs as much as the rest of most tests.
    """

    def __init__(self, browser: Browser, origin: str) -> None:
        self._browser = browser
        self._origin = origin
        self._context = browser.send("Target.createBrowserContext")["browserContextId"]
        self._keeper = self._tab()

    @contextmanager
    def page(self, path: str = "/") -> Iterator["Page"]:
        """Open a tab. When it is left, nothing remains of what it has stored."""
        page = self._tab()
        try:
            page.resize(1200, 800)
            page.open(f"{self._origin}{path}")
            yield page
        finally:
            page.close()
            self._keeper.send("Storage.clearDataForOrigin", origin=self._origin, storageTypes="all")

    def _tab(self) -> "Page":
        """Open a tab at this server: a blank one would start in a process of its own."""
        return self._browser.tab(self._context, f"{self._origin}/healthz")


class Page:
    """One tab. `complaints`: errors of scripts, and what the console got as an error, such as violations of the CSP."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target
        self.complaints: list[str] = []
        self._prefix = ""

    def behind(self, prefix: str) -> None:
        """Have a proxy that shows the server below this path, and takes it away from every request."""
        self._prefix = prefix
        self.send("Fetch.enable", patterns=[{"urlPattern": f"*{prefix}/*"}])

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.send(method, self._session, **parameters)

    def noted(self, event: dict[str, Any]) -> None:
        """Keep what went wrong in the page."""
        data = event.get("params", {})
        if event["method"] == "Fetch.requestPaused":
            url = data["request"]["url"].replace(self._prefix + "/", "/", 1)
            self._browser.post("Fetch.continueRequest", self._session, requestId=data["requestId"], url=url)
        elif event["method"] == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(data["exceptionDetails"])[:2000])
        elif event["method"] == "Log.entryAdded":
            entry = data["entry"]
            if entry["level"] == "error" and entry["source"] != "network":  # the page handles refused requests
                self.complaints.append(entry["text"])

    def open(self, url: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self.send("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def close(self) -> None:
        """Close the tab, and wait until it is gone."""
        self._browser.send("Target.closeTarget", targetId=self._target)
        deadline = time.monotonic() + LIMIT_S
        while any(one["targetId"] == self._target for one in self._browser.send("Target.getTargets")["targetInfos"]):
            assert time.monotonic() < deadline, "the tab is not closed"

    def reload(self) -> None:
        self.run("window.old = true")
        self.send("Page.reload")
        self.until("!window.old && document.readyState === 'complete'")

    def resize(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def scheme(self, scheme: str, *, motion: str = "reduce") -> None:
        """Make the browser prefer `dark` or `light`."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.send("Emulation.setEmulatedMedia", features=features)

    def offline(self, is_offline: bool) -> None:
        self.send(
            "Network.emulateNetworkConditions",
            offline=is_offline,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=-1,
        )

    def run(self, script: str) -> Any:
        """Return the value of an expression; a promise is awaited."""
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise DevToolsError(f"{script[:200]}: {json.dumps(answer['exceptionDetails'])[:1000]}")
        return answer["result"].get("value")

    def until(self, condition: str, limit_s: float = LIMIT_S - 5) -> Any:
        """Wait until an expression is true in the page. Returns its value."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            try:
                if value := self.run(_LOOK % {"condition": condition, "step": STEP_MS}):
                    return value
            except DevToolsError as error:
                if "context" not in str(error) and "navigat" not in str(error):  # the page was left meanwhile
                    raise
        shown = self.run("document.body?.innerText.slice(0, 1500)")
        raise AssertionError(f"not within {limit_s:g} s: {condition}\n{self.complaints}\n{shown}")

    def click(self, selector: str) -> None:
        """Click an element as soon as it is there."""
        self.until(f"document.querySelector({json.dumps(selector)})?.checkVisibility()")
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def type(self, selector: str, text: str) -> None:
        """Type a text into a field, as a keyboard would."""
        self.until(f"document.querySelector({json.dumps(selector)})?.checkVisibility()")
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self.send("Input.insertText", text=text)

    def press(self, key: str, code: int = 0) -> None:
        text = {"Enter": "\r"}.get(key)
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **extra)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))


_LOOK: Final = """(async () => {
  for (let tries = 0; tries < 50; tries++) {
    const value = await (%(condition)s)
    if (value) return typeof value === 'object' || value
    await new Promise((resolve) => setTimeout(resolve, %(step)d))
  }
  return null
})()"""
