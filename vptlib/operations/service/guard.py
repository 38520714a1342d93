"""What every request passes: bounds of size and time, the check of its host, and its one line in the log.

It is around the whole application, so that no endpoint can forget it.
"""

import asyncio
import json
import secrets
import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from logging import ERROR
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vptlib.operations.service.access import Access
from vptlib.operations.service.logs import note
from vptlib.operations.service.metrics import Metrics
from vptlib.operations.service.settings import Settings

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MOST_JSON = 64 * 2**10  # bytes of a request that is no image
_GONE = 499  # in the log: the client did not wait for the answer
_DRAIN_SECONDS = 2.0  # so that a client that is still sending can read why it was refused
_PROBES = ("/healthz", "/readyz")


class Refused(HTTPException):
    """A request that gets no answer.

    Args:
        status: of HTTP.
        code: for programs.
        message: one sentence for people, with the fix; nothing of this machine is in it.
        headers: further ones.
    """

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None):
        super().__init__(status, message, headers)
        self.code = code

    def response(self) -> JSONResponse:
        """What the client gets."""
        content = {"error": {"code": self.code, "message": self.detail}}
        return JSONResponse(content, self.status_code, dict(self.headers or {}))


def later(code: str, message: str, seconds: float = 1.0, status: int = 503) -> Refused:
    """A refusal that has an end: the same request may pass after `seconds`."""
    return Refused(status, code, message, {"Retry-After": str(max(1, round(seconds + 0.5)))})


def is_stopping() -> Refused:
    """The refusal of a service that takes no more."""
    return later("stopping", "The service is stopping: ask again soon.", 5)


@dataclass
class Told:
    """What the log and the metrics are told of a request; endpoints fill it in.

    Attributes:
        id: drawn at random.
        token: name of the token.
        task: of the ones that are there.
        version: that answered.
        refused: code of the refusal.
        why: what the client is not told.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    token: str | None = None
    task: str | None = None
    version: int | None = None
    refused: str | None = None
    why: str | None = None


def told(scope: MutableMapping[str, Any]) -> Told:
    """Of the request of a scope."""
    return scope["vpt.told"]


@dataclass
class Load:
    """What the service has in its hands.

    Attributes:
        requests: that have begun and not ended, those that only ask how it is not counted.
        bytes: of their bodies.
        stopping: whether it takes no more.
    """

    requests: int = 0
    bytes: int = 0
    stopping: bool = False


class Guard:
    """Around an application.

    Args:
        app: to be guarded.
        access: its door.
        settings: its limits.
        metrics: where refusals are counted.
        load: what is in hand, for whoever ends the service.
    """

    def __init__(self, app: ASGIApp, access: Access, settings: Settings, metrics: Metrics, load: Load):
        self._app, self._access, self._settings = app, access, settings
        self._metrics, self._load = metrics, load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        about, start = Told(), time.perf_counter()
        scope["vpt.told"] = about
        body = _Body(scope, receive, self._settings, self._load)
        reply = _Reply(send, body, about)
        counts = scope["path"] not in _PROBES
        self._load.requests += counts
        try:
            await self._answered(scope, body, reply)
        finally:
            self._load.requests -= counts
            body.release()
            self._tell(scope, about, reply.status, start)

    async def _answered(self, scope: Scope, body: "_Body", reply: "_Reply") -> None:
        try:
            self._check(scope)
            await self._app(scope, body.receive, reply.send)
        except Refused as refused:
            await self._refuse(scope, body, reply, refused)
        except ClientDisconnect:
            reply.status = reply.status or _GONE
        except asyncio.CancelledError:
            if not self._load.stopping or reply.status:
                raise
            await self._refuse(scope, body, reply, is_stopping())
        except Exception as error:
            about = told(scope)
            note("unexpected failure", ERROR, error, request=about.id, route=_route(scope))
            if reply.status:
                raise
            message = f"The service failed on this request. Its log has the reason, under {about.id}."
            await self._refuse(scope, body, reply, Refused(500, "unexpected", message))

    async def _refuse(self, scope: Scope, body: "_Body", reply: "_Reply", refused: Refused) -> None:
        told(scope).refused = refused.code
        if not reply.status:
            await refused.response()(scope, body.receive, reply.send)

    def _check(self, scope: Scope) -> None:
        """Raise for what is not even to be looked at.

        Where no token is used, only pages of this very service may make a browser ask.

        A page of another name that leads to this machine (DNS rebinding) has that name in Host. A page elsewhere has
        its own name in Origin.
        """
        if scope["path"] in _PROBES:
            return
        if self._load.stopping:
            raise is_stopping()
        if not self._access.is_open:
            return
        headers = Headers(scope=scope)
        if _name_of(f"//{headers.get('host', '')}") not in LOOPBACK:
            raise Refused(421, "host", "Without tokens the service answers to the name localhost only: use that.")
        origin = headers.get("origin")
        if scope["method"] in ("GET", "HEAD") or origin is None:
            return
        if origin.partition("://")[2] != headers["host"]:
            raise Refused(403, "origin", "Without tokens only the service's own page may ask from a browser.")

    def _tell(self, scope: Scope, about: Told, status: int, start: float) -> None:
        if about.refused:
            self._metrics.refuse(about.refused)
        self._metrics.bytes_held.set(self._load.bytes)
        note(
            "request",
            request=about.id,
            method=scope["method"] if scope["method"] in _METHODS else "other",
            route=_route(scope),
            status=status or _GONE,
            ms=round(1000 * (time.perf_counter() - start), 1),
            task=about.task,
            version=about.version,
            token=about.token,
            refused=about.refused,
            why=about.why,
        )


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


def _route(scope: Scope) -> str:
    """The template of the path; never the path."""
    return getattr(scope.get("route"), "path", None) or "none"


def _name_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


class _Body:
    """A request's body, within its bounds."""

    def __init__(self, scope: Scope, receive: Receive, settings: Settings, load: Load):
        headers = Headers(scope=scope)
        self._receive, self._settings, self._load = receive, settings, load
        self._most = settings.most_bytes if scope["path"].endswith("/answers") else MOST_JSON
        self._declared = _length(headers.get("content-length", "0"))
        self._is_asked_for = "expect" in headers  # the client sends nothing before it is asked
        self._held, self._deadline = 0, 0.0
        self.is_whole = self._declared == 0 and "transfer-encoding" not in headers
        self.is_slow = False

    async def receive(self) -> Message:
        """The next part.

        Raises:
            Refused: it is too large, too slow, or there is no room.
        """
        if self._declared > self._most:
            raise self._too_large()
        message = await self._next()
        part = len(message.get("body", b""))
        self._held += part
        self._load.bytes += part
        if self._held > self._most:
            raise self._too_large()
        if self._load.bytes > self._settings.most_bytes_held:
            raise later("busy", "The service has too much to do: ask again soon.")
        return message

    async def _next(self) -> Message:
        if self.is_whole:  # what comes now is only that the client has gone
            return await self._receive()
        loop = asyncio.get_running_loop()
        self._deadline = self._deadline or loop.time() + self._settings.read_seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self.is_slow = True
            seconds = f"{self._settings.read_seconds:g} s"
            raise Refused(408, "slow", f"The request did not arrive whole within {seconds}: send it again.") from None
        self.is_whole = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    def _too_large(self) -> Refused:
        return Refused(413, "too_large", f"The request is larger than {self._most:,} bytes: send a smaller image.")

    async def drain(self) -> None:
        """Read what is still being sent, for a moment, and forget it."""
        is_silent = self.is_slow or self._load.stopping or (self._is_asked_for and not self._held)
        if self.is_whole or is_silent:
            return
        left = 2 * self._settings.most_bytes
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while left > 0 and not self.is_whole:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    self.is_whole = message["type"] == "http.disconnect" or not message.get("more_body", False)
        except TimeoutError:
            return

    def release(self) -> None:
        """The bytes are no longer held."""
        self._load.bytes -= self._held
        self._held = 0


def _length(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 2**60


class _Reply:
    """The response, with the headers that every one has."""

    def __init__(self, send: Send, body: _Body, about: Told):
        self._send, self._body, self._about = send, body, about
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._body.drain()
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._about.id
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "no-referrer"
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
            headers.setdefault("Cache-Control", "no-store")
            headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
            if not self._body.is_whole:
                headers["Connection"] = "close"  # what is still to come is not read as a further request
        await self._send(message)


def error_body(status: int, code: str, message: str) -> tuple[bytes, bytes]:
    """A JSON error below the application: its reason phrase and its bytes."""
    text = json.dumps({"error": {"code": code, "message": message}}, separators=(",", ":"))
    return HTTPStatus(status).phrase.encode(), text.encode()
