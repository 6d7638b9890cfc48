"""Every request passes here first: host, origin, token, size and time in; a refusal with its reason or the body out.

A body is read whole before anything looks at it, within a size, a time, and a bound on all bodies together.
"""

import asyncio
import ipaddress
import json
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from residency.serve.logs import Logs, Meters
from residency.serve.people import People
from residency.serve.pictures import Refused

OPEN = ("/", "/health", "/openapi.json")
"""What needs no token: nothing of it is about a patient. So do the page's own files, under /page/."""
SAFE = ("GET", "HEAD", "OPTIONS")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
DRAIN_SECONDS, DRAIN_BYTES = 5.0, 256 << 20
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Rules:
    """What is let in. Sizes in bytes, times in seconds; `hosts` are the names that the server answers to."""

    people: People
    hosts: tuple[str, ...] = LOOPBACK
    upload_bytes: int = 32 << 20
    body_bytes: int = 256 << 10
    held_bytes: int = 256 << 20
    body_seconds: float = 30.0


@dataclass
class Guard:
    """The outermost part of the app (pure ASGI, so that streams stay streams)."""

    app: ASGIApp
    rules: Rules
    logs: Logs
    meters: Meters
    held: int = field(default=0, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, read, pass on, and write one line of log."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = _Visit(secrets.token_hex(8), time.perf_counter())
        scope.setdefault("state", {})["request_id"] = visit.id

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update({**HEADERS, "X-Request-Id": visit.id})
            await send(message)

        try:
            self._check(scope)
            body = await self._read(scope, receive, visit)
        except Refused as refused:
            if refused.status != 408:
                await _drain(receive)
            await _refuse(scope, refused, visit, send_on)
        else:
            try:
                await self.app(scope, _replay(body, receive), send_on)
            except Exception as error:
                self.logs.write_error(error, request=visit.id)
                if visit.status == 0:
                    failed = Refused(500, "the server failed at this; its log says where, under the request's id")
                    await _refuse(scope, failed, visit, send_on)
            finally:
                self.held -= visit.held
        self._note(scope, visit)

    def _check(self, scope: Scope) -> None:
        """Look at a request's head.

        Raises:
            Refused: a foreign host (400) or origin (403), or no valid token (401).
        """
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not _is_known(host, self.rules.hosts):
            raise Refused(400, "this server does not answer to that host name (--allow-host)")
        if scope["method"] not in SAFE:
            _require_same_origin(headers, host)
        path = scope["path"]
        person = self.rules.people.find(headers.get("authorization", ""))
        if person is None and path not in OPEN and not path.startswith("/page/"):
            raise Refused(401, "a token is needed: Authorization: Bearer TOKEN")
        scope["state"]["person"] = person

    async def _read(self, scope: Scope, receive: Receive, visit: "_Visit") -> bytes:
        """Return a request's body.

        Raises:
            Refused: it is too large (413) or too slow (408), too much is being read (429), or it breaks off (400).
        """
        most = self.rules.upload_bytes if scope["path"] == "/v1/interpret" else self.rules.body_bytes
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdigit() or int(length) > most:
            raise Refused(413, f"a body of more than {most} bytes is not read")
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self.rules.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "the body broke off")
                    parts.append(message.get("body", b""))
                    visit.held += len(parts[-1])
                    self.held += len(parts[-1])
                    if visit.held > most:
                        raise Refused(413, f"a body of more than {most} bytes is not read")
                    if self.held > self.rules.held_bytes:
                        raise Refused(429, "too much is being uploaded at once; come again in a few seconds")
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            self.held -= visit.held
            raise Refused(408, f"the body did not come within {self.rules.body_seconds:g} s") from None
        except Refused:
            self.held -= visit.held
            raise

    def _note(self, scope: Scope, visit: "_Visit") -> None:
        """Count and log a request: its route's pattern, never its path."""
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in (*SAFE, "POST") else "other"
        seconds = time.perf_counter() - visit.began
        self.meters.requests.labels(route, method, visit.status).inc()
        self.meters.latency.labels(route).observe(seconds)
        if visit.status >= 400:
            self.meters.refused.labels(visit.status).inc()
        person = scope["state"].get("person")
        self.logs.write(
            "request", request=visit.id, method=method, route=route, status=visit.status, ms=round(seconds * 1000, 1),
            bytes=visit.held, role=person.role if person else None,
        )  # fmt: skip


@dataclass
class _Visit:
    """One request: its id, when it began, bytes read, and the status of its answer."""

    id: str
    began: float
    held: int = 0
    status: int = 0


def _require_same_origin(headers: Headers, host: str) -> None:
    """Let browsers write only from the server's own page: same origin, and a header that no form can send."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is None and site is None:
        return
    if origin is not None and origin.partition("://")[2] != host:
        raise Refused(403, "another site's page may not write here")
    if site not in (None, "same-origin", "none"):
        raise Refused(403, "another site's page may not write here")
    if headers.get("x-residency") is None:
        raise Refused(403, "a browser's request needs the header X-Residency: 1")


def _is_known(host: str, hosts: tuple[str, ...]) -> bool:
    """Tell whether a Host header names this server; a bare address always does, for no other site can claim one."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    name = name.strip("[]").lower()
    if name in hosts:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body once, and then what the connection says."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def tell_error(status: int, reason: str, request_id: str, **more: Any) -> dict[str, Any]:
    """Return the body of every refusal."""
    return {"error": {"status": status, "reason": reason, **more}, "request": request_id}


async def _drain(receive: Receive) -> None:
    """Throw away what still comes, for a while: whoever is still sending would not hear why they are refused."""
    drained = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while drained < DRAIN_BYTES:
                message = await receive()
                drained += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return


async def _refuse(scope: Scope, refused: Refused, visit: _Visit, send: Send) -> None:
    """Answer a refusal; the connection closes, for what is left of the body is not read."""
    body = json.dumps(tell_error(refused.status, refused.reason, visit.id)).encode()
    more = {401: [(b"www-authenticate", b"Bearer")], 429: [(b"retry-after", b"5")]}.get(refused.status, [])
    length = str(len(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length), (b"connection", b"close"), *more]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
