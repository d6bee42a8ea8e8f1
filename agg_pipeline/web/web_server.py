"""Serving an application: its address, who may use it, and its end."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

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


def serve(app: ASGIApp, host: str, port: int, token: str | None, started: Callable[[str], None]) -> None:
    """Serve an application until the process is told to stop.

    Args:
        app: the application.
        host: name or address of the interface.
        port: port; 0 for one that is free.
        token: that every request needs; None for none.
        started: called with the address to open.

    Raises:
        UserError: the address cannot be used, or a token is missing.
    """
    check_access(host, token)
    with bound(host, port) as listening:
        used = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        query = "" if token is None else f"?token={token}"
        config = uvicorn.Config(
            Guard(app, used, token), log_level="warning", ws="none", server_header=False, timeout_graceful_shutdown=3
        )
        started(f"http://{shown}:{used}/{query}")
        uvicorn.Server(config).run(sockets=[listening])
