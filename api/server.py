"""Runs uvicorn, and ends the open streams when the process is asked to stop."""

import asyncio
import logging
import os
import signal
import socket
from types import FrameType

import uvicorn

from turnwire.api.app import create_app
from turnwire.api.edge.client_address import TrustedProxies
from turnwire.api.edge.cors import Origins
from turnwire.api.edge.protocol import for_site
from turnwire.api.edge.site import is_loopback
from turnwire.api.services import Services
from turnwire.shared.errors import SettingsError
from turnwire.shared.garbage import spare_what_is_there
from turnwire.shared.logs import log_to_stderr
from turnwire.shared.settings import Settings
from turnwire.shared.tracing import tracing

logger = logging.getLogger(__name__)

GRACE_S = 5  # a client that does not read is cut off after this time; every other stream ends at once


class Server(uvicorn.Server):
    """Uvicorn would wait for open streams for ever. This server ends them first, each after a whole line."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self.crashed = False
        self._services = services
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_leaving = False
        services.on_crash = self._crash

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        spare_what_is_there()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn calls it
        """Stop: after TURNWIRE_SHUTDOWN_DELAY_S, or at once at the second signal. The next Ctrl-C waits for nobody.

        Unlike uvicorn, which raises the signal again after its shutdown, this process then ends with exit status 0.
        """
        if self._loop is not None and not self._is_leaving and self._services.settings.shutdown_delay_s > 0:
            self._is_leaving = True
            self._loop.call_soon_threadsafe(self._leave)
            return
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._services.drain)
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    def _leave(self) -> None:
        """Serve on, but tell proxies by /readyz that they should send nothing new."""
        delay_s = self._services.settings.shutdown_delay_s
        logger.info("stopping in %g s; /readyz says so already", delay_s)
        self._services.leaving = True
        asyncio.get_running_loop().call_later(delay_s, self._stop)

    def _stop(self) -> None:
        self.should_exit = True
        self._services.drain()

    def _crash(self) -> None:
        """End the process after a defect that leaves every stream silent. A supervisor starts the process again."""
        self.crashed = True
        self._stop()


def check_bind(settings: Settings) -> None:
    """Let only this machine reach an API that asks nobody for credentials, unless its operator says otherwise.

    Raises:
        SettingsError: it would listen on another address.
    """
    if settings.authenticates or is_loopback(settings.host):
        return
    if settings.auth != "none":
        raise SettingsError(
            f"TURNWIRE_HOST is {settings.host}, but nobody would be asked for credentials. Set TURNWIRE_API_KEYS_FILE "
            "(`python -m api keys new` makes a key), or TURNWIRE_AUTH=none if only a proxy can reach this address"
        )
    logger.warning("the API authenticates nobody and listens on %s: let only a proxy reach it", settings.host)


def serve(settings: Settings) -> bool:
    """Serve until a signal arrives. Returns: False after a crash, or if it could not start.

    Raises:
        SettingsError: a setting cannot be read, or everybody could reach an open API.
    """
    log_to_stderr(settings)
    check_bind(settings)
    tracing.start("turnwire-api", os.environ)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=for_site(Origins(settings.cors_origins), TrustedProxies(settings.trusted_proxies)),
        proxy_headers=False,  # client_address.py reads them
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level=settings.log_level,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=GRACE_S,
        backlog=4096,
    )
    server = Server(config, app.state.services)
    try:
        server.run()
    except SystemExit:  # uvicorn has said why it could not start; its own exit status would be 3
        return False
    finally:
        tracing.close()
    return not server.crashed
