"""What is particular about one model, or about the server that runs it."""

from typing import Final, Literal

import msgspec

Think = Literal["text", "reasoning", "hide"]
Continue = Literal["off", "prefill", "flags", "prefix", "llama-stream", "responses", "auto"]

KEEPS: Final = frozenset({"llama-stream", "responses"})  # modes in which the server goes on with an answer by itself


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one model that its server needs.

    Attributes:
        stream_options: whether the request asks for the usage with `stream_options`. Some servers refuse that field. If
            one does and names it, the field is left out from then on, with or without this setting.
        think: what a `<think>…</think>` at the beginning of the answer is: part of the text, reasoning with events of
            its own, or nothing that anybody sees.
        continues: how the server is asked for the rest of an answer that broke off. `prefill`: by a last message of the
            assistant. `flags`: by that and `continue_final_message`. `prefix`: by that and `"prefix": true`.
            `llama-stream`: the server goes on by itself, and is read again; once it has lost the answer, as `prefill`.
            `responses`: the same, by OpenAI's Responses API, whose answers cannot go on once they are lost.
            `auto`: the server is tried once for each model. `off`: it is not asked, and the turn fails.
        max_answer_bytes: the largest single event, or unstreamed document, that is read, in bytes.
        piece_characters: a longer piece of text is split, so that its event stays within the limit of an event.
    """

    stream_options: bool = True
    think: Think = "text"
    continues: Continue = "off"
    max_answer_bytes: int = 67_108_864
    piece_characters: int = 16_384
