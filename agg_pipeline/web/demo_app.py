"""``agg demo``: the answers of the page on which a click and a slider show what granularity means."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agg_pipeline.inference.interactive import InteractiveModel
from agg_pipeline.web.answers import answered, body
from agg_pipeline.web.demo_requests import Asked, Export
from agg_pipeline.web.mask_answers import (
    MadeMask,
    coco_json,
    cut_out_png,
    facts,
    full_size,
    jpeg,
    mask_of,
    mask_png,
    probability_png,
)
from agg_pipeline.web.model_queue import ModelQueue, Urgency
from agg_pipeline.web.page_files import page_files
from agg_pipeline.web.picture_sources import UPLOAD_BYTES, PictureSource, mask_of_content, of_content
from agg_pipeline.web.visits import Visit, Visits
from schemas.canonical import Json
from schemas.checked_json import decode
from schemas.numbers import GRANULARITIES

REQUEST_BYTES = 1 << 20
"""Largest request but for an image."""
MEDIA = {"mask": "image/png", "cut-out": "image/png", "coco": "application/json"}
"""Kind of file by kind of export."""


class DemoApp:
    """The demo's answers.

    Args:
        model: predicts.
        source: images that the page offers.
        name: what the model is called.
    """

    def __init__(self, model: InteractiveModel, source: PictureSource, name: str) -> None:
        self._model = model
        self._source = source
        self._name = name
        self._visits = Visits(model.open)
        self._queue = ModelQueue()

    def app(self) -> Starlette:
        """The application."""

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            forgetting = asyncio.create_task(self._visits.keep_forgetting())
            yield
            forgetting.cancel()
            self._queue.close()

        routes = [
            *page_files("demo"),
            Route("/api/facts", answered(self._facts)),
            Route("/api/images", answered(self._open), methods=["POST"]),
            Route("/api/images/{key}", answered(self._close), methods=["DELETE"]),
            Route("/api/images/{key}/pixels", answered(self._pixels)),
            Route("/api/images/{key}/masks", answered(self._masks), methods=["POST"]),
            Route("/api/images/{key}/truth", answered(self._load_truth), methods=["POST"]),
            Route("/api/images/{key}/export", answered(self._export), methods=["POST"]),
        ]
        return Starlette(routes=routes, lifespan=lifespan)

    async def _facts(self, _request: Request) -> Response:
        granularities = list(GRANULARITIES) if self._model.has_granularity else []
        return JSONResponse({"model": self._name, "granularities": granularities, "images": list(self._source.names)})

    async def _open(self, request: Request) -> Response:
        name = request.query_params.get("name")
        if name is not None:
            picture = await run_in_threadpool(self._source.open, name)
        else:
            content = await body(request, UPLOAD_BYTES)
            picture = await run_in_threadpool(of_content, content, request.query_params.get("called", "the image"))
        visit = self._visits.open(picture)
        height, width = picture.size
        size = {"height": height, "width": width, "full_height": picture.height, "full_width": picture.width}
        return JSONResponse({"key": visit.key, "name": picture.name, **size})

    async def _close(self, request: Request) -> Response:
        self._visits.close(request.path_params["key"])
        return Response(status_code=204)

    async def _pixels(self, request: Request) -> Response:
        picture = self._visit(request).picture
        return Response(await run_in_threadpool(jpeg, picture.pixels), media_type="image/jpeg")

    async def _masks(self, request: Request) -> Response:
        visit = self._visit(request)
        asked = decode(await body(request, REQUEST_BYTES), Asked, "the request")
        urgency = Urgency.NOW if asked.urgent else Urgency.NEXT
        return JSONResponse(await self._queue.run(visit.key, urgency, _predicted, visit, asked))

    async def _load_truth(self, request: Request) -> Response:
        visit = self._visit(request)
        content = await body(request, UPLOAD_BYTES)
        visit.truth = await run_in_threadpool(mask_of_content, content, visit.picture)
        return Response(status_code=204)

    async def _export(self, request: Request) -> Response:
        visit = self._visit(request)
        export = decode(await body(request, REQUEST_BYTES), Export, "the request")
        # A file that was asked for is made, whatever is clicked on or asked for meanwhile.
        content = await self._queue.run(None, Urgency.NOW, _exported, visit, export)
        return Response(content, media_type=MEDIA[export.kind])

    def _visit(self, request: Request) -> Visit:
        return self._visits.of(request.path_params["key"])


def _predicted(visit: Visit, asked: Asked) -> Json:
    """The masks that a page asks for, and how long they took."""
    began = time.perf_counter()
    maps = visit.session.predict_each(asked.clicks, asked.granularities)
    milliseconds = 1000 * (time.perf_counter() - began)
    truth = visit.truth_of(asked.clicks)
    masks = [
        {
            "granularity": granularity,
            "png": base64.b64encode(probability_png(probability)).decode("ascii"),
            **facts(probability, truth),
        }
        for granularity, probability in zip(asked.granularities, maps, strict=True)
    ]
    return {"masks": masks, "milliseconds": milliseconds}


def _exported(visit: Visit, export: Export) -> bytes:
    """The file that a page wants to keep: masks and clicks on the image as it was given, pixels as they are shown."""
    picture = visit.picture
    wanted = export.masks if export.kind == "coco" else export.masks[:1]
    maps = [visit.session.predict(kept.clicks, kept.granularity) for kept in wanted]
    if export.kind == "cut-out":
        return cut_out_png(picture.pixels, mask_of(maps[0]))
    masks = [full_size(each, picture.height, picture.width) for each in maps]
    if export.kind == "mask":
        return mask_png(masks[0])
    made = [
        MadeMask(kept.label, picture.in_given_pixels(kept.clicks), kept.granularity, mask)
        for kept, mask in zip(wanted, masks, strict=True)
    ]
    return coco_json(picture.name, picture.height, picture.width, made)
