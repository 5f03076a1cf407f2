"""What a reader sees of the events of a turn."""

import pytest

from turnwire.cli.transcript import ERROR, NOTE, REASONING, TEXT, Piece, Transcript


def delta(cursor: str, delta: str, part: str = "a", **more: str) -> dict:
    return {
        "id": cursor,
        "type": "message.part.updated",
        "data": {"part": {"type": "text", "id": part, **more}, "delta": delta},
    }


def event(kind: str, cursor: str = "1-9", **data: object) -> dict:
    return {"id": cursor, "type": kind, "data": data}


@pytest.fixture
def transcript() -> Transcript:
    return Transcript("demo", 3)


def shown(transcript: Transcript, *events: dict) -> list[Piece]:
    return [piece for each in events for piece in transcript.take(each)]


def test_a_takeover_takes_back_what_came_after_the_cursor_and_says_how_much(transcript):
    resumed = event("session.run.resumed", "2-2", attempt=2, after="1-1", reason="lease_expired")
    pieces = shown(transcript, delta("1-1", "I "), delta("1-2", "think "), resumed, delta("2-3", "know"))
    assert [kind for kind, _ in pieces] == [TEXT, TEXT, NOTE, TEXT]
    assert pieces[2].text.startswith("takeover: ")
    assert "attempt 2" in pieces[2].text
    assert "the last 6 characters" in pieces[2].text
    assert transcript.text == "I know"


def test_a_continuation_takes_nothing_back(transcript):
    resumed = event("session.run.resumed", "2-3", attempt=2, after="1-2", reason="handover")
    pieces = shown(transcript, delta("1-1", "I "), delta("1-2", "think "), resumed, delta("2-4", "so"))
    assert "characters" not in pieces[2].text
    assert pieces[2].text.startswith("handover: ")
    assert transcript.text == "I think so"


def test_a_result_that_was_taken_back_does_not_count(transcript):
    result, after = event("result", "1-2", finalText="first"), event("session.run.resumed", after="1-0", attempt=2)
    shown(transcript, delta("1-1", "first"), result, after, delta("2-2", "second"))
    assert transcript.text == "second"


def test_text_that_a_part_replaces_and_a_changed_result_are_shown_as_a_whole(transcript):
    assert shown(transcript, delta("1-1", "one"), delta("1-2", "", text="one two"))[1] == Piece(TEXT, " two")
    assert shown(transcript, delta("1-3", "", text="three"))[-1] == Piece(TEXT, "three")
    assert shown(transcript, event("result", finalText="THREE")) == [
        Piece(NOTE, "the answer was changed; it is now:"),
        Piece(TEXT, "THREE"),
    ]
    assert transcript.text == "THREE"


def test_reasoning_tools_and_signals_are_told_apart_from_the_answer(transcript):
    pieces = shown(
        transcript,
        event("reasoning.delta", delta="hm"),
        event("tool.call", id="1", name="search", arguments={"q": "rent"}),
        event("tool.result", id="1", result="2 cases"),
        event("session.run.suspended", awaiting="approval", timeoutMs=60_000),
        event("error", code="quota", message="no money", retryable=True),
        event("legal.citation", case="Doe v. Roe"),
        event("tool.call.delta", index=0),
    )
    assert pieces == [
        Piece(REASONING, "hm"),
        Piece(NOTE, '→ search({"q": "rent"})'),
        Piece(NOTE, "← 2 cases"),
        Piece(
            NOTE, "waits for the signal approval, for 1m 0s at most: turnwire signal demo 3 approval PAYLOAD"
        ),
        Piece(ERROR, "quota: no money, asking again may help"),
        Piece(NOTE, '· legal.citation {"case": "Doe v. Roe"}'),
    ]  # fmt: skip
    assert transcript.text == ""


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b]0;owned\x07",  # the title of the window
        "\x1b[2J\x1b[1;1H",  # clears the screen
        "\x9b31m",  # the same with an eight-bit introducer
        "a\rb\x08c\x7f",  # writes over what was written
        "\u202egnp.exe",  # turns the order of the text around
        "\ud800",  # half a character
    ],
)
def test_no_text_of_others_can_control_the_terminal(transcript, hostile):
    events = [
        delta("1-1", hostile),
        delta("1-2", "", text=f"{hostile}!"),
        event("result", finalText=f"{hostile}?"),
        event("reasoning.delta", delta=hostile),
        event("tool.call", name=hostile, arguments=hostile),
        event("tool.call.deferred", name=hostile, arguments={hostile: hostile}, signal=hostile),
        event("tool.result", result=hostile),
        event("session.run.suspended", awaiting=hostile),
        event("session.run.resumed", attempt=hostile, after="1-0", reason=hostile),
        event("session.stream.ended", code=hostile),
        event("error", code=hostile, message=hostile),
        event(hostile, **{hostile: hostile}),
        event("message.part.updated", part={"type": hostile}),
    ]
    text = "".join(piece.text for each in events for piece in transcript.take(each))
    assert not set(text) & set("\x1b\x9b\x07\r\x08\x7f\u202e\ud800")
