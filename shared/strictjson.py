"""JSON that never changes a value. JSON cannot represent NaN and Infinity; msgspec would write null, this refuses."""

import dataclasses
import math
from typing import Any, Final

import msgspec

SORTED: Final = msgspec.json.Encoder(order="deterministic")


def encode_sorted(value: Any) -> bytes:
    """Return the value as JSON with sorted keys, so that equal values give equal bytes.

    Raises:
        TypeError, ValueError: the value holds something that JSON cannot represent.
    """
    encoded = SORTED.encode(value)
    if b"null" in encoded:  # to look into the value costs more than to encode it, and a null is rare
        refuse_non_finite(value)
    return encoded


def refuse_non_finite(value: Any) -> None:
    """Look for NaN and Infinity in a value that msgspec has encoded.

    Raises:
        ValueError: there is one.
    """
    left = [value]
    while left:
        item = left.pop()
        if item is None or isinstance(item, str | int):
            continue
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError(f"{item} has no form in JSON")
        if isinstance(item, dict):
            left.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            left.extend(item)
        elif isinstance(item, msgspec.Struct):
            left.extend(msgspec.structs.astuple(item))
        elif dataclasses.is_dataclass(item):
            left.extend(vars(item).values())
