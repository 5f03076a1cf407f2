"""Extends uvicorn's HTTP protocol, which trusts its clients more than a server on a network may.

The data that a client may send before a request is complete is limited in size and in time (deadline.py). A request
that cannot be read is answered with a problem document, or not at all while another answer is on its way (refusal.py).
An offer to upgrade is declined. A client that leaves is noticed at once, even if it has sent more than this server has
read. A stream can write to its connection directly, and is told when the connection is lost (wire.py).

This uses parts of uvicorn that are not public; tests/test_private_names.py lists them.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from turnwire.api.edge.client_address import TrustedProxies
from turnwire.api.edge.cors import Origins
from turnwire.api.edge.deadline import Deadline, Phase
from turnwire.api.edge.problems import HeadTooLarge, RequestTimeout
from turnwire.api.edge.refusal import Lingering, refuse, warn_of_shortage
from turnwire.api.edge.wire import CONNECTION, REQUEST_ID, STALLED
from turnwire.shared.errors import BadRequest, TurnwireError
from turnwire.shared.log_context import request_id_of

REQUEST_ID_HEADER: Final = b"x-request-id"
MAX_HEAD_BYTES: Final = 65_536  # the request line and the headers, also the trailers; uvicorn would keep any amount
HEADER_BYTES: Final = 32  # what a header counts for beside its name and value, as in HTTP/2: an empty one is not free
MAX_HELD_BYTES: Final = 65_536  # a client may send so much while its earlier requests are not answered yet


class RefusedError(Exception):
    """Ends the parsing of a request from inside a callback. The parser then reports an error of that callback."""


class Protocol(HttpToolsProtocol):
    """One connection of a client. `on_lost` is called when the connection is lost."""

    origins = Origins()  # whose pages may use the API; see `for_site`
    proxies = TrustedProxies()
    on_lost: Callable[[], None] | None = None
    head_s: float = 10.0  # the longest time from the connection, or a request's first byte, to the end of its headers
    body_check_s: float = 10.0  # how often the progress of a body that is on its way is checked
    min_body_bytes_per_s: int = 500

    _phase: Phase = Phase.HEAD
    _begun = False  # the client has begun to send a request
    _heard = False  # the parser has called one of the methods below since it was fed
    _unheard_bytes = 0  # how many bytes the parser was fed since the last such call; it keeps them all
    _head_bytes = 0
    _held = b""
    _answering: RequestResponseCycle | None = None  # the request that the application works on
    _refusal: TurnwireError | None = None
    _lingering: Lingering | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        warn_of_shortage(transport)
        self._deadline = Deadline(self.loop, self._late)
        self._deadline.start(Phase.HEAD, self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        answering = self._answering
        super().connection_lost(exc)
        if isinstance(exc, TimeoutError):  # mostly the kernel is quicker than `Wire.drain` to cut off who takes nothing
            STALLED.add()
        self._deadline.stop()
        if answering and not answering.response_complete:  # uvicorn tells only the latest request
            answering.disconnected = True
            answering.message_event.set()
        self.pipeline.clear()
        # each of these refers back to this object: without them, all are freed at once
        self.scope = self.cycle = self._answering = None  # type: ignore[assignment]
        if self.on_lost:
            self.on_lost()

    # what comes in

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._lingering.discard(len(data))
        elif self.pipeline:
            self._hold(data)
        elif not self.transport.is_closing():
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        self._heard = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._refusal or BadRequest("malformed HTTP request"))
        else:
            self._unheard_bytes = 0 if self._heard else self._unheard_bytes + len(data)
            if self._unheard_bytes > MAX_HEAD_BYTES:
                self._refuse(_head_too_large())
            else:
                self._watch()

    def _hold(self, data: bytes) -> None:
        """Keep what comes after a request that waits for its turn. Only who reads can see that the client leaves."""
        self._held += data
        if len(self._held) > MAX_HELD_BYTES:
            self.flow.pause_reading()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._held and not self.pipeline and not self.transport.is_closing():
            held, self._held = self._held, b""
            self._feed(held)

    def _decline_upgrade(self, body: bytes) -> None:
        """Serve a request that offers another protocol as if it did not: RFC 9110, 7.8.

        The parser has taken the headers and would leave the rest to the other protocol. So another parser gets the
        same headers without the offer, and the rest. A CONNECT asks for a tunnel, and its answer says that there is
        none; what follows belongs to nobody.
        """
        if self.parser.get_method() == b"CONNECT":
            self.cycle.keep_alive = False
            return
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % pair for pair in self.headers if pair[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._feed(b"\r\n".join([*lines, b"", body]))

    # what the parser finds

    def on_message_begin(self) -> None:
        self._heard, self._begun, self._phase, self._head_bytes = True, True, Phase.HEAD, 0
        self._unset_keepalive_if_required()
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: self}  # type: ignore[dict-item]

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + HEADER_BYTES)
        if self._phase is Phase.HEAD:  # a trailer is no header: nobody has looked at it when the request is decided
            super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._heard = True
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refusal = _head_too_large()
            raise RefusedError

    def on_headers_complete(self) -> None:
        self._heard = True
        if self._offers_upgrade():
            return
        hosts = [name for name, _ in self.headers].count(b"host")
        if hosts != 1 and (hosts or self.parser.get_http_version() != "1.0"):
            self._refusal = BadRequest("a request must have one Host header")
            raise RefusedError
        self._phase = Phase.BODY
        super().on_headers_complete()
        request_id = request_id_of(next((value for name, value in self.headers if name == REQUEST_ID_HEADER), None))
        self.scope["extensions"][REQUEST_ID] = request_id  # type: ignore[assignment]
        told = (REQUEST_ID_HEADER, request_id.encode())
        self.cycle.default_headers = [*self.cycle.default_headers, told, *self.origins.headers(self.headers)]
        self.flow.resume_reading()  # uvicorn stops reading while a request waits for an earlier one; see `_hold`

    def on_chunk_header(self) -> None:
        self._heard = True

    def on_body(self, body: bytes) -> None:
        self._heard = True
        self._deadline.progress += len(body)
        super().on_body(body)
        if self.pipeline:
            self.flow.resume_reading()

    def on_message_complete(self) -> None:
        self._heard, self._phase = True, Phase.IDLE
        if not self._offers_upgrade():
            super().on_message_complete()
            self.flow.resume_reading()  # nobody else does: the application does not ask for more than the body

    def _offers_upgrade(self) -> bool:
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    # clients that are slow, or wrong

    def _watch(self) -> None:
        """Let the deadline be that of the phase in which the parser is now."""
        if self._phase is not self._deadline.phase:
            self._deadline.start(self._phase, self.head_s if self._phase is Phase.HEAD else self.body_check_s)

    def _late(self) -> None:
        """The time of this phase is over. It begins anew while it is this server that makes the client wait."""
        if self._phase is Phase.BODY:
            waits = self.flow.read_paused or bool(self.pipeline)
            late = self._deadline.progress < self.min_body_bytes_per_s * self.body_check_s
        else:
            waits, late = self._is_answering(), True
        if late and not waits:
            self._refuse(RequestTimeout("the request did not arrive in time"))
        else:
            self._deadline.start(self._deadline.phase, self._deadline.delay_s)

    def _is_answering(self) -> bool:
        return self._answering is not None and not self._answering.response_complete

    def _refuse(self, error: TurnwireError) -> None:
        """End the connection, with an answer if nobody can take it for another one, or for a part of one."""
        self._deadline.stop()
        current = self._answering if self._phase is Phase.BODY and self._answering is self.cycle else None
        if current.response_started if current else self._is_answering():
            self.transport.close()
            return
        if current:  # the application must not answer, too
            current.disconnected = True
            current.message_event.set()
        self.flow.resume_reading()
        silent = isinstance(error, RequestTimeout) and not self._begun  # a browser opens connections in advance
        headers = self.origins.headers(self.headers if self._begun else ())
        client = self.proxies.client(self.client[0] if self.client else None, self.headers if self._begun else ())
        self._lingering = refuse(self.transport, None if silent else error, client, headers)

    @property
    def has_begun_to_answer(self) -> bool:
        """Whether the client has got a part of the answer to its request, so that no other answer can be sent."""
        return self._answering is not None and self._answering.response_started

    def send_until_closed(self) -> None:
        """Let the body of the answer end with the connection: HTTP/1.0 knows no chunks."""
        if self._answering:
            self._answering.chunked_encoding = False


def for_site(origins: Origins, proxies: TrustedProxies) -> type[Protocol]:
    """Return the protocol of a server that the pages of these origins may use, and that trusts these proxies."""
    return type("SiteProtocol", (Protocol,), {"origins": origins, "proxies": proxies})


def _head_too_large() -> TurnwireError:
    return HeadTooLarge(f"the request line and headers have more than {MAX_HEAD_BYTES} bytes")
