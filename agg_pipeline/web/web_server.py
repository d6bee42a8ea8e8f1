"""Serving an application: its address, who may use it, and its end."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable
from urllib.parse import urlencode

import uvicorn
from starlette.types import ASGIApp

from agg_pipeline.web.access import LOCAL_NAMES, Guard
from schemas.errors import UserError

SHORTEST_TOKEN = 8
"""Fewest characters of a token."""
WAITING = 64
"""Connections that may wait to be taken."""


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: name or address of the interface.
        port: port; 0 for one that is free.

    Raises:
        UserError: the address is not of this machine, or the port is in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(WAITING)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use; give another one as --port, or 0 for any that is free") from error
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listening


def check_access(host: str, token: str | None) -> None:
    """Check that whoever reaches the server needs a token, unless only this machine does.

    Raises:
        UserError: a token is missing or too short.
    """
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise UserError(f"--token must have at least {SHORTEST_TOKEN} characters, all of ASCII")
    if token is None and host not in LOCAL_NAMES:
        raise UserError(
            f"--host {host} lets other machines use the page; give a --token, a secret that every request needs"
        )


def is_everywhere(listening: socket.socket) -> bool:
    """Whether a socket listens on all addresses of this machine."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_unspecified


def address_of(listening: socket.socket, host: str, token: str | None) -> str:
    """The address to open in a browser.

    Args:
        listening: the server's socket.
        host: the name or address that was asked for.
        token: that every request needs; None for none.
    """
    if is_everywhere(listening):
        host = "::1" if listening.family == socket.AF_INET6 else "127.0.0.1"
    name = f"[{host}]" if ":" in host else host
    query = "" if token is None else f"?{urlencode({'token': token})}"
    return f"http://{name}:{listening.getsockname()[1]}/{query}"


def serve(
    make: Callable[[], ASGIApp], host: str, port: int, token: str | None, started: Callable[[str, bool], None]
) -> None:
    """Serve an application until the process is told to stop.

    Args:
        make: makes the application, which may take long: the port is taken before.
        host: name or address of the interface.
        port: port; 0 for one that is free.
        token: that every request needs; None for none.
        started: called with the address to open, and whether all addresses of this machine lead there.

    Raises:
        UserError: the address cannot be used, a token is missing, or the application cannot be made.
    """
    check_access(host, token)
    with bound(host, port) as listening:
        app = Guard(make(), listening.getsockname()[1], token)
        config = uvicorn.Config(app, log_level="warning", ws="none", server_header=False, timeout_graceful_shutdown=3)
        started(address_of(listening, host, token), is_everywhere(listening))
        uvicorn.Server(config).run(sockets=[listening])
