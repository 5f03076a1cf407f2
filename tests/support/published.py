"""Publications as the appender sends them."""

from turnwire.api.following.publication import Publication


def publication(attempt: int, first: int, *events: bytes) -> Publication:
    return Publication.parse(b"\n".join([b"%d-%d" % (attempt, first), *events]))
