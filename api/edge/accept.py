"""Decides from the headers `Accept` and `Prefer` which form of answer a client wants. It does no I/O."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from turnwire.api.edge.problems import NotAcceptable

JSON: Final = "application/json"
KEPT_CHARACTERS: Final = 256  # of a header whose choice is kept; strangers' long headers would fill the memory


def choose(accept: str | None, offers: Sequence[str]) -> str:
    """Return the media type that the client prefers, the first one among equals.

    A missing or empty header accepts every offer.

    Raises:
        NotAcceptable: the client accepts none of the offers.
    """
    wanted = accept or ""
    return (_chosen if len(wanted) > KEPT_CHARACTERS else _kept_choice)(wanted, tuple(offers))


def _chosen(accept: str, offers: tuple[str, ...]) -> str:
    if not accept.strip():
        return offers[0]
    ranges = [_media_range(part) for part in accept.split(",") if part.strip()]
    best = max(offers, key=lambda offer: _quality(offer, ranges))  # max keeps the first of equals
    if _quality(best, ranges) <= 0:
        raise NotAcceptable("available media types: " + ", ".join(offers))
    return best


_kept_choice: Final = lru_cache(maxsize=256)(_chosen)  # clients send the same few headers with every request


def wants_async(prefer: str | None) -> bool:
    """Return whether the header says `Prefer: respond-async`."""
    if not prefer:
        return False
    preferences = prefer.split(",")
    return any(preference.split(";")[0].strip().lower() == "respond-async" for preference in preferences)


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            return name, _weight(parameter[2:])
    return name, 1.0


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0  # a weight that is not a number counts as a refusal
    return weight if 0 <= weight <= 1 else 0.0


def _quality(offer: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return the weight of the most specific range that matches the offer (RFC 9110, 12.5.1)."""
    weights = dict(ranges)
    for name in (offer, offer.split("/", maxsplit=1)[0] + "/*", "*/*"):
        if name in weights:
            return weights[name]
    return 0.0
