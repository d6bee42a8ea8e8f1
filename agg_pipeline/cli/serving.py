"""What the commands that serve a page share: their options, and their start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from agg_pipeline.cli.option_groups import given
from agg_pipeline.report.printed import say
from schemas.errors import UserError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

PACKAGES = ("starlette", "uvicorn")
"""What a served page needs, of the extra ``web``."""


@dataclass(frozen=True)
class Serving:
    """Where a page is served, and who may use it."""

    host: str = given(
        "--host",
        metavar="HOST",
        default="127.0.0.1",
        help="Interface to listen on. Others than this machine's own need --token.",
    )
    port: int = given(
        "--port", type=click.IntRange(0, 65535), metavar="PORT", default=8400, help="Port. 0: one that is free."
    )
    token: str | None = given(
        "--token", metavar="TOKEN", default=None, show_default="none", help="Secret that every request needs."
    )


def check_serving(serving: Serving) -> None:
    """Check, before anything is loaded, that a page can be served.

    Raises:
        UserError: packages or a token are missing.
    """
    if any(find_spec(name) is None for name in PACKAGES):
        raise UserError("a served page needs the extra web: pip install 'agg-pipeline[web]'")
    from agg_pipeline.web.web_server import check_access

    check_access(serving.host, serving.token)


def serve_page(make: Callable[[], ASGIApp], serving: Serving) -> None:
    """Serve a page until Ctrl-C.

    Args:
        make: makes the application.
        serving: where, and who may use it.

    Raises:
        UserError: the page cannot be made or served.
    """
    from agg_pipeline.web.access import LOCAL_NAMES
    from agg_pipeline.web.web_server import serve

    def started(address: str, everywhere: bool) -> None:
        say(f"open {address}")
        if everywhere:
            say("all addresses of this machine lead there; elsewhere, put its name into the one above")
        if serving.host not in LOCAL_NAMES:
            say("warning: other machines can reach this page; what they send is not encrypted", err=True)
        say("Ctrl-C ends it")

    serve(make, serving.host, serving.port, serving.token, started)
