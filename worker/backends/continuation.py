"""Continues an answer where it broke off, so that the client does not get its beginning twice. It does no I/O.

The server is asked for the rest: the conversation ends with the beginning of the answer, as a message of the assistant.
That beginning is cut back to before its last white space, because a model continues badly inside a word. So the rest
begins with the piece that was cut off, which the client has already. If it does not, or if the server starts the answer
over, one event replaces the text that the client has.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from turnwire.shared.events import PART_UPDATED, ChatStreamEvent
from turnwire.worker.backends.answer import text_delta
from turnwire.worker.backends.quirks import Continue
from turnwire.worker.turn.accumulator import TextAccumulator

_FAR: Final = 200  # a text without white space for so many characters is of a language that has none between words
_SAME: Final = 24  # an answer that begins with so many characters of the old one has started over
_FEWEST_TOKENS: Final = 20  # with less left of the limit, the answer is not worth continuing
_BYTES_PER_TOKEN: Final = 4
_WORD: Final = re.compile("[A-Za-z]{2}")  # a tokenizer puts such letters into one token
_FEWEST_PIECES: Final = 6  # so many tokens do not have the same length by chance
_UNSAFE: Final = ("response_format", "stop", "grammar", "json_schema", "guided_json", "guided_regex", "guided_grammar")
_LIMITS: Final = ("max_tokens", "max_completion_tokens")


class DeltaCount:
    """Estimates the tokens of an answer. Most servers send a delta for each token.

    Some gateways cut the text into pieces of the same number of characters instead, and their deltas say nothing. Only
    single characters may be tokens all the same, as in a list of numbers; but not if they make a word of letters.
    """

    def __init__(self) -> None:
        self._deltas = 0
        self._first = 0  # the length of the first delta, in characters
        self._last = 0
        self._differ = False  # whether one has another length; the last one does not count

    def take(self, delta: str) -> None:
        """Count a delta."""
        if not delta:
            return
        self._differ = self._differ or self._last != self._first
        self._deltas += 1
        self._last = len(delta)
        self._first = self._first or self._last

    def tokens_of(self, text: str) -> int:
        """Return about how many tokens the text has, which came in these deltas."""
        are_pieces = self._deltas >= _FEWEST_PIECES and not self._differ
        if are_pieces and self._first == 1:
            are_pieces = _WORD.search(text) is not None
        return len(text.encode()) // _BYTES_PER_TOKEN if are_pieces else self._deltas


class Progress:
    """What the client has of one answer, over all requests for it.

    `begun`: what it has before the first request. `deltas`: in which pieces it came; none: in one. `keeps`: whether the
    answer may have to go on.
    """

    def __init__(self, begun: str = "", deltas: Sequence[str] = (), *, keeps: bool = True) -> None:
        self.started_over = False
        self._count = DeltaCount()
        for delta in deltas or [begun]:
            self._count.take(delta)
        self._keeps = keeps
        self._pieces = [begun] if begun else []
        self._sent: str | None = None  # the beginning that the server was given; None: it was asked for a whole answer
        self._may_echo = False  # whether the current request has brought no piece yet
        self._rest = ""  # of the current request, until it is certain how it fits to what was shown
        self._joined = not begun
        self._is_text = True

    def take(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the events that the client gets for an event of the current request."""
        if event["type"] != PART_UPDATED:
            self._is_text = False
            return [event]
        delta = event["data"]["delta"]
        if self._is_echo(delta):
            return []
        self._count.take(delta)
        if self._joined:
            if self._keeps:
                self._pieces.append(delta)
            return [event]
        self._rest += delta
        return self._join(is_end=False)

    def end(self) -> list[dict[str, Any]]:
        """Return the events for what is still held back at the end of the answer."""
        return [] if self._joined else self._join(is_end=True)

    @property
    def _shown(self) -> str:
        return "".join(self._pieces)

    def ask_anew(self) -> None:
        """Expect a whole answer from the next request."""
        self._sent, self._rest, self._joined = None, "", not self._pieces

    def go_on(self, request: Mapping[str, Any], mode: Continue) -> dict[str, Any] | None:
        """Return the request for the rest of the answer; None if there is none that is safe."""
        beginning = healed(self._shown)
        if mode == "off" or not beginning or not self._is_text or not _is_safe(request, mode):
            return None
        rest = dict(request)
        for name in _LIMITS:
            if isinstance(limit := request.get(name), int):
                rest[name] = limit - self._count.tokens_of(beginning)
                if rest[name] < _FEWEST_TOKENS:
                    return None
        self._sent, self._rest, self._joined = beginning, "", False
        self._may_echo = True
        return in_mode(rest, beginning, mode)

    def _is_echo(self, delta: str) -> bool:
        may_echo, self._may_echo = self._may_echo, self._may_echo and not delta
        return may_echo and self._sent is not None and is_echo([delta], self._sent)

    def _join(self, *, is_end: bool) -> list[dict[str, Any]]:
        whole, shown = self._whole(is_end=is_end), self._shown
        if whole is None or (shown.startswith(whole) and not is_end):
            return []
        self._joined, self._pieces = True, [whole]
        if not whole.startswith(shown):
            return [_replacement(whole)]
        more = whole[len(shown) :]
        return [text_delta(more)] if more else []

    def _whole(self, *, is_end: bool) -> str | None:
        """Return the answer as the current request makes it; None if that is not certain yet."""
        if self._sent is None or self.started_over:
            return self._rest
        start = self._sent[:_SAME]
        if self._rest.startswith(start):
            self.started_over = True
            return self._rest
        if start.startswith(self._rest) and not is_end:
            return None
        return self._sent + self._missing_space() + self._rest

    def _missing_space(self) -> str:
        """Return the white space that some servers remove from the beginning of the rest."""
        cut_off = self._shown[len(self._sent or "") :]
        word = cut_off.lstrip()
        space = cut_off[: len(cut_off) - len(word)]
        is_missing = space and self._rest[:1].strip() and (word.startswith(self._rest) or self._rest.startswith(word))
        return space if is_missing else ""


def in_mode(request: Mapping[str, Any], beginning: str, mode: Continue) -> dict[str, Any]:
    """Return the request for the rest of an answer that has this beginning, as the server wants it in this mode."""
    said: dict[str, Any] = {"role": "assistant", "content": beginning}
    if mode == "prefix":
        said |= {"prefix": True}
    flags = {"continue_final_message": True, "add_generation_prompt": False} if mode == "flags" else {}
    return {**request, "messages": [*request["messages"], said], **flags}


def is_echo(first: Sequence[str], beginning: str) -> bool:
    """Whether a server says the beginning of an answer again that it was given. `first`: the first piece that it sends.

    Mistral does, in one piece. A server that starts the answer over makes it anew, token by token.
    """
    return [*first] == [beginning]


def text_alone(events: Sequence[ChatStreamEvent]) -> str:
    """Return the text that these events make; '' if one of them is something else, which a model cannot go on with."""
    text = TextAccumulator()
    if all(event.type == PART_UPDATED and text.add(event.type, event.data) for event in events):
        return text.text
    return ""


def healed(text: str) -> str:
    """Return the text without its last, perhaps half, word, and without the white space before it."""
    before = text.rstrip()
    if len(before) == len(text):
        words = before.split()
        before = before[: len(before) - len(words[-1])].rstrip() if words else ""
    return before if len(text) - len(before) <= _FAR else text


def _is_safe(request: Mapping[str, Any], mode: Continue) -> bool:
    """Whether the server can be asked for the rest. With a grammar it cannot: the rest alone does not fit it."""
    if any(request.get(name) for name in _UNSAFE) or (mode == "prefix" and request.get("tools")):
        return False
    messages: Sequence[Mapping[str, Any]] = request["messages"]
    return all(isinstance(message.get("content"), str | None) for message in messages)


def _replacement(text: str) -> dict[str, Any]:
    return {"type": PART_UPDATED, "data": {"part": {"type": "text", "id": "text-0", "text": text}}}
