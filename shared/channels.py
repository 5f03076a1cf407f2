"""Spells every pub/sub channel, together with the methods `channel` of the keys of a session and of a turn.

Redis delivers a message to subscribers in all databases, so every channel begins with the prefix of its deployment.
"""

from typing import Final

NOT_PUBLISHED: Final = "-"  # stands for a channel prefix: the script publishes nothing
ENDED: Final = b"ended"  # a message on a turn's channel: the replicas have its end now, which was not published


def channel_prefix(deployment: str) -> str:
    """Return the prefix of every channel of a deployment. It is empty for the deployment without a name.

    Redis delivers a message to subscribers in all databases, so channels must keep two deployments on one server apart.
    """
    return f"{deployment}:" if deployment else ""


def cancels_channel(deployment: str) -> str:
    """Return the pub/sub channel, on the data Redis, that tells workers which turns may have been cancelled."""
    return channel_prefix(deployment) + "turnwire:cancels"


def revoked_channel(deployment: str) -> str:
    """Return the pub/sub channel, on the data Redis, that tells API processes of revoked tokens."""
    return channel_prefix(deployment) + "turnwire:revoked"


def alive_channel(deployment: str, worker: str) -> str:
    """The pub/sub channel (queue Redis) to which a worker's process subscribes, to show that it lives."""
    return channel_prefix(deployment) + "turnwire:alive:" + worker
