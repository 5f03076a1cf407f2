"""Parts of messages in the form in which model servers take them."""

import pytest

from turnwire.worker.backends.messages import wire_message


@pytest.mark.parametrize(
    ("part", "wire"),
    [
        (
            {"type": "input_file", "input_file": {"url": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        ),
        (
            {"type": "input_file", "input_file": {"url": "https://a/b"}},
            {"type": "file", "file": {"filename": "file", "file_data": "https://a/b"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"url": "data:audio/MPEG;base64,AAAA"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"url": "data:audio/ogg;codecs=opus;base64,AAAA", "format": "opus"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "opus"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"url": "https://a/b.wav"}},
            {"type": "audio_url", "audio_url": {"url": "https://a/b.wav"}},
        ),
    ],
)
def test_files_and_sounds_are_sent_as_servers_take_them(part, wire):
    assert wire_message({"role": "user", "content": [part]}) == {"role": "user", "content": [wire]}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "text"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "b"}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]},
        {"role": "user", "content": ["anything", {"type": "file", "file": {"file_id": "f"}}]},
    ],
)
def test_everything_else_is_sent_as_it_is(message):
    assert wire_message(message) == message
