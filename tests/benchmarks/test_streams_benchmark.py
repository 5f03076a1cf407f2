"""The parts of `bench streams` that need nothing installed run, check what they read, and print figures."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.rig.langgraph_client import produced
from benchmarks.rig.latency_plot import svg
from benchmarks.rig.scene import pieces, same
from benchmarks.rig.tail_client import Answer, WrongAnswerError
from stack.cluster import ROOT, bare_environment


@pytest.mark.long
def test_the_smallest_run_measures_ours_and_the_floor(tmp_path: Path) -> None:
    result = tmp_path / "streams.json"
    parts = ["fanout", "replay", "redis"]
    argv = [sys.executable, "-m", "benchmarks.streams", "--tiny", "--only", *parts, "--json", str(result)]
    done = subprocess.run(
        argv, cwd=ROOT, env=bare_environment(), capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    reports = [json.loads(result.with_stem(f"streams-{part}").read_text()) for part in parts]
    assert all(isinstance(row[2], float | int) for report in reports for row in report["rows"])
    assert all(report["machine"]["cores"] for report in reports)


async def test_readers_that_got_different_events_are_an_error() -> None:
    left, right = answer("x", "y"), answer("x", "y")
    assert pieces(left) == [1, 1, 1, 1, 1]
    assert len(same([left, right], 5)) == 2
    with pytest.raises(WrongAnswerError, match="different"):
        same([left, answer("x", "z")], 5)


async def test_an_answer_of_langgraph_is_checked() -> None:
    good = sse([1, 2, 3])
    assert [made for made, _ in produced(good, 3)] == [1, 2, 3]
    for wrong in (sse([1, 2]), sse([1, 3, 2]), sse([1, 2, 3], "error")):
        with pytest.raises(WrongAnswerError):
            produced(wrong, 3)


def test_the_plot_is_an_svg_with_two_lines() -> None:
    plot = ET.fromstring(svg([(3000, 1.0, 9.0), (9000, 2.0, 30.0)], "2 cores"))
    assert len(plot.findall("{http://www.w3.org/2000/svg}polyline")) == 2


def answer(*texts: str) -> Answer:
    """Return an answer as it comes from the service, with one line in each chunk."""
    kinds = ["session.run.started", *["delta"] * len(texts), "result", "session.run.completed"]
    data = ["", *texts, "", ""]
    lines = [
        json.dumps({"id": f"1-{seq}", "type": kind, "data": {"text": text}}) + "\n"
        for seq, (kind, text) in enumerate(zip(kinds, data, strict=True))
    ]
    return answered(lines)


def sse(numbers: list[int], last: str = "end") -> Answer:
    blocks = [f'event: custom\r\ndata: {{"number": {number}, "at": {number}}}\r\n\r\n' for number in numbers]
    return answered([*blocks, f"event: {last}\r\ndata: {{}}\r\n\r\n"])


def answered(chunks: list[str]) -> Answer:
    made = Answer(b"")
    made.parts.append((0, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"))
    made.parts += [(at, f"{len(chunk):x}\r\n{chunk}\r\n".encode()) for at, chunk in enumerate(chunks, 1)]
    made.parts.append((len(chunks) + 1, b"0\r\n\r\n"))
    return made
