"""Answers to requests: their bodies have limits, and their errors are one line that the page shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from agg_pipeline.web.model_queue import ReplacedError
from schemas.errors import UserError

Answer = Callable[[Request], Awaitable[Response]]


def answered(answer: Answer) -> Answer:
    """An answer whose errors are one line that the page shows."""

    async def whole(request: Request) -> Response:
        try:
            return await answer(request)
        except UserError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ReplacedError:
            return JSONResponse({"error": "a newer request has replaced this one"}, 409)
        except ClientDisconnect:
            return PlainTextResponse("", 400)

    return whole


async def body(request: Request, limit: int) -> bytes:
    """The body of a request; UserError if it has more than ``limit`` bytes."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise UserError(f"the file is too large: up to {limit // 1_000_000} MB are taken")
    return bytes(content)
