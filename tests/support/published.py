"""Publications as the appender sends them."""

from turnwire.api.following.publication import Publication


def publication(attempt: int, first: int, *events: bytes) -> Publication:
    parsed = Publication.parse(b"\n".join([b"%d-%d" % (attempt, first), *events]))
    assert parsed is not None
    return parsed
