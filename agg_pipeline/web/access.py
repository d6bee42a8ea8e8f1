"""Who may use a served page: the token, the Host and the Origin of a request, and what browsers are told."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import URL, Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
"""Names of this machine for itself."""
COOKIE = "agg_token"
"""Cookie of the token; its name ends with the port, because the ports of a machine share cookies."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer. The page loads nothing from elsewhere and cannot be framed."""


class Guard:
    """Lets only requests through that come from the page itself.

    Without a token, requests must name this machine as their host: another web page could otherwise reach the server
    through a name of its own that it points here. With a token, any host will do: the names of this machine are not
    known, and a browser sends the cookie of the token only to the name under which the page was opened.

    Args:
        app: what is guarded.
        port: of the server.
        token: that every request needs; None for none, for a server that only this machine reaches.
    """

    def __init__(self, app: ASGIApp, port: int, token: str | None) -> None:
        self._app = app
        self._cookie = f"{COOKIE}_{port}"
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        answer = self._refusal(Request(scope))
        if answer is not None:
            await answer(scope, receive, _with_headers(send))
            return
        await self._app(scope, receive, _with_headers(send))

    def _refusal(self, request: Request) -> Response | None:
        """What is answered instead of the page; None for a good request."""
        problem = self._foreign(request.headers)
        if problem is not None:
            return PlainTextResponse(problem, 403)
        if self._token is None:
            return None
        given = request.query_params.get("token")
        if given is not None and request.method == "GET" and self._is_token(given):
            answer = RedirectResponse(URL(str(request.url)).remove_query_params("token"), 303)
            answer.set_cookie(self._cookie, given, httponly=True, samesite="strict")
            return answer
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if self._is_token(request.cookies.get(self._cookie, "")) or (
            scheme.lower() == "bearer" and self._is_token(bearer)
        ):
            return None
        return PlainTextResponse("this page needs its token: open the address that the command printed\n", 401)

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    def _foreign(self, headers: Headers) -> str | None:
        """What is wrong with where a request comes from."""
        host = headers.get("host", "")
        if self._token is None and host_name(host) not in LOCAL_NAMES:
            return "this server only answers requests to localhost; use --host and --token for others\n"
        origin = headers.get("origin")
        if origin is not None and not _same(origin, host):
            return "requests of other web pages are refused\n"
        site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "")
        if site not in ("none", "same-origin") and mode != "navigate":
            return "requests of other web pages are refused\n"
        return None


def host_name(host: str) -> str:
    """The name in a Host header, without its port and the brackets of an IPv6 address; "" if it is broken."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same(origin: str, host: str) -> bool:
    """Whether an Origin header names the host of the request."""
    try:
        return urlsplit(origin).netloc == host and host != ""
    except ValueError:
        return False


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                given[name] = value
        await send(message)

    return sent
