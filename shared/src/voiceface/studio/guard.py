"""What every request passes before a route sees it: host, origin, token, size and time of the body.

Plain ASGI, so that answers stream and a visitor who leaves is noticed.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from voiceface.studio.settings import StudioSettings, is_loopback

__all__ = ["CONTENT_SECURITY_POLICY", "Guard"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

COOKIE = "voiceface_token"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob: data:; connect-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(self), geolocation=()",
    "cache-control": "no-store",
}
UPLOADS = ("/api/voices", "/api/faces", "/api/gallery")
SAFE_METHODS = ("GET", "HEAD")
BODY_MARGIN = 64 * 2**10  # bytes of an upload beside its file


class Guard:
    """ASGI application around another one.

    Args:
        app: the application.
        settings: address, token and limits.
    """

    def __init__(self, app: Any, settings: StudioSettings) -> None:
        self.app, self.settings = app, settings
        self._uploading = 0  # bytes of all uploads that are being read or used

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websockets
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        send = _with_headers(send)
        try:
            refusal = self._refuse(scope, headers)
        except ValueError:  # of urlsplit
            refusal = 400, "a header of the request is malformed"
        if refusal is not None:
            await _respond(send, *refusal)
            return
        if (given := self._token_of_address(scope)) is not None:
            await _enter(send, given if self._is_token(given) else "", scope["path"])
            return
        await self._bounded(scope, headers, receive, send)

    def _refuse(self, scope: Message, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and reason of a refusal; None: go on."""
        host = headers.get("host", "")
        if not self._is_my_host(host):
            return 421, f"unknown host {host[:80]!r}: open the address that the server has printed"
        is_page = scope["method"] in SAFE_METHODS and not scope["path"].startswith("/api/")
        if not is_page and not _is_same_origin(headers, host):
            return 403, "a page of another site must not call the studio"
        if not self.settings.token or self._knows_token(scope, headers):
            return None
        return (
            401,
            "the token is missing or wrong: open the address with ?token=... that was printed",
        )

    def _is_my_host(self, host: str) -> bool:
        """Whether the Host header names this server, not a name that somebody made point here."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = (parts.hostname or "").rstrip("."), parts.port or 80
        except ValueError:
            return False
        if is_loopback(self.settings.host):
            return is_loopback(name) and self.settings.port in (0, port)
        # With a token, a name that points here gains nothing: its pages do not know the token.
        return name == self.settings.host or is_loopback(name) or self.settings.host in ("0.0.0.0", "::")

    def _knows_token(self, scope: Message, headers: dict[str, str]) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        cookies = dict(
            part.strip().split("=", 1) for part in headers.get("cookie", "").split(";") if "=" in part
        )
        given = [bearer] if scheme.lower() == "bearer" else []
        given += [cookies.get(COOKIE, ""), self._token_of_address(scope) or ""]
        return any(map(self._is_token, given))

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.settings.token.encode())

    def _token_of_address(self, scope: Message) -> str | None:
        """Token in the address of a page: it moves into a cookie, so that it stays in no history."""
        if not self.settings.token or scope["path"] not in ("/", "/docs"):
            return None
        values = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        return values[0] if values else None

    async def _bounded(self, scope: Message, headers: dict[str, str], receive: Receive, send: Send) -> None:
        """Run the application with a body that ends in time and within its size, until its visitor leaves."""
        limits = self.settings.limits
        most = (limits.upload_bytes + BODY_MARGIN) if scope["path"] in UPLOADS else limits.body_bytes
        too_large = 413, f"too large: expected at most {most / 2**20:.3g} MB"
        if _stated_length(headers) > most:
            await _respond(send, *too_large)
            return
        seen, refusal, started, is_complete, ended = 0, None, False, False, asyncio.Event()
        deadline = asyncio.get_running_loop().time() + limits.upload_seconds

        async def bounded_receive() -> Message:
            nonlocal seen, refusal
            if ended.is_set():
                return await receive()  # waits for the visitor to leave
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                refusal = 408, f"the request did not end within {limits.upload_seconds:g} s"
                raise _Refused from None
            if message["type"] == "http.request":
                size = len(message.get("body", b""))
                seen += size
                self._uploading += size
                if seen > most:
                    refusal = too_large
                    raise _Refused
                if self._uploading > limits.uploading_bytes:
                    refusal = 503, "others send too much at this moment: try again"
                    raise _Refused
                if not message.get("more_body", False):
                    ended.set()
            return message

        async def bounded_send(message: Message) -> None:
            nonlocal started, is_complete
            if refusal is not None and not started:
                raise _Refused  # the framework has made another answer of the error
            started = True
            await send(message)
            is_complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        async def wait_for_leaving() -> None:
            await ended.wait()
            while (await receive())["type"] != "http.disconnect":
                pass

        work = asyncio.ensure_future(self.app(scope, bounded_receive, bounded_send))
        leaving = asyncio.ensure_future(wait_for_leaving())
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done() and not is_complete:
                work.cancel()
            await work
        except BaseException:
            has_left = leaving.done() and not is_complete
            if not has_left and (refusal is None or started):
                raise
        finally:
            self._uploading -= seen
            work.cancel()
            leaving.cancel()
        if refusal is not None and not started:
            await _respond(send, *refusal)


class _Refused(Exception):
    """The body is too large or too slow."""


def _stated_length(headers: dict[str, str]) -> float:
    """Stated size of a body, bytes; infinity if it is no number."""
    stated = headers.get("content-length", "0")
    return int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 20 else float("inf")


def _is_same_origin(headers: dict[str, str], host: str) -> bool:
    """Whether a call comes from a page of this server, or from a program."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == host


def _with_headers(send: Send) -> Send:
    """Add the headers of every answer."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message.get("headers", [])}
            extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in given]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return wrapped


async def _respond(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers.append((b"connection", b"close"))  # the rest of a body is not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _enter(send: Send, token: str, path: str) -> None:
    """Keep the token in a cookie, unless it is "", and show the page without it."""
    headers = [(b"location", path.encode()), (b"content-length", b"0")]
    if token:
        headers.append((b"set-cookie", f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/".encode()))
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
