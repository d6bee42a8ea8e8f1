"""A page and the files that the browser loads with it: style, program."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from agg_pipeline.report.look import style_sheet
from agg_pipeline.report.templates import filled

STATIC = Path(__file__).parent / "static"
"""Folder of the files that are sent as they are."""


def page_files(name: str) -> tuple[BaseRoute, ...]:
    """Where a page answers: the page itself, the style of all pages, and its own style and program.

    Args:
        name: name of the page's template, style and program.
    """
    page, style = filled(f"{name}.html.j2", name=name), style_sheet()

    async def sent_page(_request: Request) -> Response:
        return HTMLResponse(page)

    async def sent_style(_request: Request) -> Response:
        return Response(style, media_type="text/css")

    return (
        Route("/", sent_page),
        Route("/look.css", sent_style),
        Mount("/static", StaticFiles(directory=STATIC)),
    )
