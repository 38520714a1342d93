"""HTTP on the wire: uvicorn, with a deadline for headers, a JSON error for what is no HTTP, and an orderly end."""

import asyncio
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, ClassVar

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vptlib.errors import UserError
from vptlib.operations.service.guard import Load, error_body
from vptlib.operations.service.logs import note
from vptlib.operations.service.settings import Settings

_LAST_SECONDS = 5.0  # for a client that does not read the end of its response
_KEEP_ALIVE_SECONDS = 10  # between two requests of one connection
_MOST_HEADERS = 32 * 2**10  # bytes


class _Punctual(H11Protocol):
    """A connection whose request must have begun in time: uvicorn itself waits for headers for ever."""

    limits: ClassVar[Settings]
    refuse: ClassVar[Callable[[str], None]]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        if len(self.connections) > self.limits.most_connections:
            type(self).refuse("connections")
            transport.abort()
            return
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_busy():
            self._expect_no_more()
        elif self._timer is None:  # the first bytes of a further request; more bytes give no more time
            self._expect()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.loop.call_later(_LAST_SECONDS, self.transport.abort)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(_LAST_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_no_more()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        type(self).refuse("no_http")
        self._end(400, "no_http", "This is no valid HTTP request.")

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect(self) -> None:
        self._timer = self.loop.call_later(self.limits.header_seconds, self._give_up)

    def _expect_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.transport.is_closing() or self._is_busy():
            return
        type(self).refuse("slow_headers")
        self._end(408, "slow_headers", f"No request came within {self.limits.header_seconds:g} s.")

    def _end(self, status: int, code: str, message: str) -> None:
        """Send a last response and close."""
        reason, body = error_body(status, code, message)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(b"connection", b"close")]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            start = h11.Response(status_code=status, headers=headers, reason=reason)
            for event in (start, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self.loop.call_later(_LAST_SECONDS, self.transport.abort)


class Server(uvicorn.Server):
    """Ends when it is asked to: what has begun ends first, and nothing new begins.

    As long as something runs it still listens, so that who asks whether it is ready reads that it is not.

    Args:
        config: from `configured`.
        load: what is in hand.
        patience: seconds for what has begun.
    """

    def __init__(self, config: uvicorn.Config, load: Load, patience: float):
        super().__init__(config)
        self._load, self._patience, self._end = load, patience, 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets it end; a second one ends it at once."""
        if self._load.stopping:
            self.should_exit = self.force_exit = True
        self._load.stopping = True
        self._end = self._end or time.monotonic() + self._patience

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to end; called ten times a second."""
        if self._load.stopping and (not self._load.requests or time.monotonic() >= self._end):
            self.should_exit = True
        return await super().on_tick(counter)


def configured(
    app: Any, settings: Settings, refuse: Callable[[str], None], certificate: str | None = None, key: str | None = None
) -> uvicorn.Config:
    """How an application is served.

    Args:
        refuse: counts a connection that got no answer, by a code.
        certificate, key: PEM files, for HTTPS.

    Raises:
        UserError: they cannot be read, or do not fit each other.
    """
    protocol = type("Punctual", (_Punctual,), {"limits": settings, "refuse": staticmethod(refuse)})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=_MOST_HEADERS,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"--certificate {certificate} and --key {key or certificate} cannot be used ({reason}): give PEM files "
            "that belong together."
        ) from error
    return config


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address, before anything is loaded; it does not listen yet.

    Raises:
        UserError: the port is taken, or there is no such address here.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host is {host!r}, which is no address of this machine: take 127.0.0.1.") from error
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
    except (OSError, OverflowError) as error:
        made.close()
        raise UserError(
            f"port {port} at {host} cannot be had ({getattr(error, 'strerror', None) or error}): end what uses it, or "
            "take another one with --port."
        ) from error
    return made


def serve(server: Server, listening: socket.socket) -> None:
    """Answer until a signal ends it."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # a closed window, without nohup
        signal.signal(signal.SIGHUP, partial(Server.handle_exit, server))
    server.run(sockets=[listening])
    note("stopped")
