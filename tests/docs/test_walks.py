"""README, tutorial and the operators' pages are followed step by step, with real processes and a real Redis."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from stack.cluster import Stack
from tests.support.markdown import blocks

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

LIMIT_S = 20
PAGE_URL = "http://127.0.0.1:8000"


@pytest.fixture
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """Run the whole service with the product that the reader of the page saves, or with the offline demo."""
    product = getattr(request, "param", None)
    env = {"PYTHONPATH": str(tmp_path)}
    if product:
        page, name = product
        saved = [block for block in blocks("python", page) if block.title == f"{name}.py"]
        (tmp_path / f"{name}.py").write_text(saved[-1].text, encoding="utf-8")
        env["TURNWIRE_HOOKS"] = f"{name}:hooks"
    with Stack(tmp_path / "log", env=env) as stack:
        yield stack


def curls(page: str) -> list[str]:
    """Return the shell blocks of a page that ask the API, in order."""
    return [block.text for block in blocks("sh", page) if block.text.startswith("curl ")]


def answers(page: str) -> list[list[dict]]:
    """Return the streams that a page shows, in order."""
    shown = [block.text for block in blocks("json", page) if block.text.startswith('{"id"')]
    return [[json.loads(line) for line in text.splitlines()] for text in shown]


def ask(command: str, stack: Stack) -> "subprocess.Popen[str]":
    """Run a command of a page in a shell, as a reader would."""
    assert PAGE_URL in command
    return subprocess.Popen(
        ["bash", "-c", command.replace(PAGE_URL, stack.base_urls[0]).replace("curl ", "curl -sS ")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def lines_of(command: str, stack: Stack) -> list[dict]:
    shown, _ = ask(command, stack).communicate(timeout=LIMIT_S)
    return [json.loads(line) for line in shown.splitlines()]


@pytest.mark.parametrize("service", [("README.md", "legal_app")], indirect=True)
def test_the_product_of_the_readme_answers_as_shown(service: Stack):
    demo, product = curls("README.md")
    assert lines_of(product, service) == answers("README.md")[0]
    assert lines_of(demo, service)[-1]["data"] == {"sessionId": "demo", "replayed": False, "persisted": True}
    assert lines_of(demo, service)[-1]["data"]["replayed"] is True


def test_the_first_commands_of_the_readme_ask_the_offline_model(service: Stack):
    shown = lines_of(curls("README.md")[0], service)
    assert shown[0]["type"] == "session.run.started"
    assert "“hello”" in shown[-2]["data"]["finalText"]


@pytest.mark.parametrize("service", [("docs/tutorial.md", "shop")], indirect=True)
def test_the_approval_of_the_tutorial_survives_its_worker(service: Stack):
    _, refund, read_on, approve = curls("docs/tutorial.md")
    _, before, after = answers("docs/tutorial.md")
    asking = ask(refund, service)
    assert asking.stdout is not None
    assert [json.loads(asking.stdout.readline()) for _ in before] == before
    service.worker[0].kill()
    service.worker[0].start()
    reading = ask(read_on, service)
    lines_of(approve, service)
    rest, _ = asking.communicate(timeout=LIMIT_S)
    assert [json.loads(line) for line in rest.splitlines()] == after
    read, _ = reading.communicate(timeout=LIMIT_S)
    assert [json.loads(line) for line in read.splitlines()] == after


def test_the_redis_commands_for_operators_work(service: Stack):
    """Every redis-cli line of the pages is run, while one turn runs and another one has ended."""
    command = curls("README.md")[0]
    lines_of(command.replace("turns/0", "turns/1"), service)
    assert service.redis is not None
    with redis.Redis.from_url(service.redis.url, decode_responses=True) as client:
        for page in ("docs/keys.md", "docs/how-to/billing.md"):
            for line in redis_lines(page):
                client.execute_command(*line)  # raises if Redis answers with an error
        assert client.type("turnwire:ledger") == "stream"
        asking = ask(command, service)
        assert asking.stdout is not None
        asking.stdout.readline()  # the turn has started
        for line in redis_lines("docs/keys.md"):
            if "demo" in line[1] and "signals:" not in line[1] and "ledger:" not in line[1] and "steps:" not in line[1]:
                assert client.execute_command(*line), line
        asking.communicate(timeout=LIMIT_S)


def redis_lines(page: str) -> list[list[str]]:
    texts = [block.text for block in blocks("sh", page) if block.text.startswith("redis-cli ")]
    return [shlex.split(line, comments=True)[1:] for text in texts for line in text.splitlines()]


def test_the_billing_page_says_where_the_usage_is(service: Stack):
    lines_of(curls("README.md")[0], service)
    rows, session, everything = curls("docs/how-to/billing.md")[0].splitlines()
    assert lines_of(rows, service)[0]["rows"][0]["outcome"] == "completed"
    assert lines_of(session, service)[0]["rows"] == lines_of(everything, service)[0]["rows"] == 1
