"""Fits messages into the context of a model: it leaves out the oldest turns. It does no I/O.

Nobody but the server can count tokens, because each model splits text in its own way. So their number is estimated: a
token for each 3 bytes of UTF-8, and 4 for each message. Two kinds of text need more: what has no words, such as base64
or hexadecimal digits, and emoji. Each part that is not text, such as an image, counts as 1000 tokens.

Measured with the vocabularies cl100k and o200k: the estimate is 1.3 to 1.4 times too high for English and for code, 1.2
to 1.6 times for German, between 0.96 and 1.6 for Chinese and Japanese, and 0.85 at the lowest, for Arabic and Hindi.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

BYTES_PER_TOKEN: Final = 3
WORDLESS = re.compile(r"[A-Za-z0-9+/=_-]{64,}")  # no word is as long: base64, hexadecimal digits and the like
WORDLESS_TOKENS: Final = 0.75  # for each character of such a text
TOKENS_PER_EMOJI: Final = 3  # for each character outside the basic plane: an emoji may consist of several
TOKENS_PER_MESSAGE: Final = 4
TOKENS_PER_PART: Final = 1000
ANSWER_SHARE: Final = 4  # a quarter of the context is left for an answer whose length the request does not limit

Message = Mapping[str, Any]


TRIMMED: Final = "history.trimmed"  # the event that says that turns were left out

# How servers tell the limit, and the length of a request that exceeds it: llama.cpp, OpenAI and vLLM, Anthropic.
_TOLD: Final = (
    re.compile(r'(?=.*"n_prompt_tokens": ?(?P<used>\d+))(?=.*"n_ctx": ?(?P<limit>\d+))', re.DOTALL),
    re.compile(r"maximum context length is (?P<limit>\d+).{0,80}?(?:resulted in|requested) (?:about )?(?P<used>\d+)"),
    re.compile(r"(?P<used>\d+) tokens > (?P<limit>\d+)"),
)


class LeftOut(NamedTuple):
    """How many turns of a model's history were left out already. `model`: its name for the client."""

    model: str
    turns: int = 0

    def event(self, more: int = 0) -> dict[str, Any]:
        """Return the event that says that these turns, and so many more, were left out."""
        return {"type": TRIMMED, "data": {"model": self.model, "droppedTurns": self.turns + more}}


class Fitted(NamedTuple):
    """Messages that fit, as far as possible, and the number of turns that were left out."""

    messages: list[Message]
    dropped_turns: int


def fit(messages: Sequence[Message], room_tokens: int) -> Fitted:
    """Leave out the oldest turns, until the rest has an estimate of at most `room_tokens`.

    A turn begins with a message of the user, and ends before the next one. So a tool's call and its result stay
    together. The last turn always stays, because it asks. So does all before the first turn, such as a system prompt.
    """
    begins = [position for position, message in enumerate(messages) if message.get("role") == "user"]
    if not begins:
        return Fitted(list(messages), 0)
    ends = [*begins[1:], len(messages)]
    kept = len(begins) - 1  # the index of the oldest turn that stays
    left = room_tokens - estimate(messages[: begins[0]]) - estimate(messages[begins[kept] : ends[kept]])
    while kept and (cost := estimate(messages[begins[kept - 1] : ends[kept - 1]])) <= left:
        left -= cost
        kept -= 1
    return Fitted([*messages[: begins[0]], *messages[begins[kept] :]], kept)


def shorter(messages: Sequence[Message], refusal: str) -> Fitted:
    """Leave out the oldest turns of messages that a server has refused because they are too long.

    If its `refusal` tells the limit and the length, the rest has about three quarters of the limit. Otherwise it has
    half of its length.
    """
    told = next(filter(None, (form.search(refusal) for form in _TOLD)), None)
    share = 0.5
    if told is not None and 0 < int(told["limit"]) < int(told["used"]):
        share = int(told["limit"]) / int(told["used"]) * (1 - 1 / ANSWER_SHARE)
    return fit(messages, int(estimate(messages) * share))


def room(context_tokens: int, request: Mapping[str, Any]) -> int:
    """Return how many tokens the messages of a request may have, so that its answer fits into the context, too."""
    for name in ("max_completion_tokens", "max_tokens"):
        answer = request.get(name)
        if type(answer) is int and answer > 0:
            return max(context_tokens - answer, 0)
    return context_tokens - context_tokens // ANSWER_SHARE


def estimate(messages: Sequence[Message]) -> int:
    """Return about how many tokens these messages have, rather too many than too few."""
    return sum(_estimate(message) for message in messages)


def _estimate(message: Message) -> int:
    tokens = TOKENS_PER_MESSAGE
    for name, value in message.items():
        if name == "role" or value is None:
            continue
        if name == "content" and isinstance(value, list):
            tokens += sum(_of_part(part) for part in value)
        else:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            tokens += _of_text(text)
    return tokens


def _of_part(part: Any) -> int:
    text = part.get("text") if isinstance(part, dict) else None
    return _of_text(text) if isinstance(text, str) else TOKENS_PER_PART


def _of_text(text: str) -> int:
    size = len(text.encode("utf-8", "surrogatepass"))
    wordless = sum(len(found[0]) for found in WORDLESS.finditer(text))
    emoji = 0 if text.isascii() else sum(character > "\uffff" for character in text)
    plain = size - wordless - 4 * emoji
    return math.ceil(plain / BYTES_PER_TOKEN + wordless * WORDLESS_TOKENS) + emoji * TOKENS_PER_EMOJI
