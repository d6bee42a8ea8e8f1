"""``agg view``: the answers of the page that shows proposal databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.datasets.found_photographs import Root, found_pixels
from agg_pipeline.execution.plan import layout_of
from agg_pipeline.figures.colours import COLOURS
from agg_pipeline.storage.rle import decode_crop
from agg_pipeline.web.answers import answered, body
from agg_pipeline.web.browsed_rows import BrowsedRows, Wanted
from agg_pipeline.web.mask_answers import jpeg, mask_png
from agg_pipeline.web.page_files import page_files
from schemas.canonical import Json, Row
from schemas.checked_json import decode
from schemas.errors import UserError

REQUEST_BYTES = 1 << 20
"""Largest request."""
GREY = 128
"""Of an image whose photograph is not found."""
THUMBNAIL = 320
"""Longest side of a thumbnail, in pixels."""
SHOWN = 1600
"""Longest side of a photograph and of its masks, in pixels; larger ones are made smaller."""
TILE_MASKS = 40
"""Most masks whose outlines are drawn on a thumbnail."""
TILE_COLUMNS = ["rle", "height", "width", "kind", "area", "granularity", "category", "source"]
"""Columns of the masks of a thumbnail."""


@dataclass(frozen=True, eq=False)
class Browsed:
    """A database that is shown.

    Attributes:
        name: where it is.
        database: its reader.
        rows: its rows in memory.
        roots: where its photographs may lie.
    """

    name: str
    database: ProposalDatabase
    rows: BrowsedRows
    roots: Sequence[Root]

    def image(self, image_id: str) -> Row:
        """The row of an image; UserError if it fell out, or is of another database."""
        rows: list[Row] = self.database.rows_of_image("images", image_id).to_pylist()
        if not rows:
            raise UserError("this image fell out; the database has no mask of it")
        return rows[0]

    def photograph(self, image: Row) -> NDArray[np.uint8] | None:
        """The pixels of an image, (H, W, 3) uint8 RGB; None if its photograph is not found."""
        source = self.database.sources[image["source"]]
        size = image["height"], image["width"]
        return found_pixels(layout_of(source), image["path"], image["sha256"], size, self.roots)

    def has_photographs(self) -> bool:
        """Whether the first photograph of every run is found; the others lie beside it."""
        try:
            return all(self.photograph(self.image(each)) is not None for each in self.rows.first_images())
        except UserError:
            # The page opens nevertheless, and says at the image what is wrong with its row.
            return False


class ViewApp:
    """The answers of the page.

    Args:
        shown: the databases.
    """

    def __init__(self, shown: Sequence[Browsed]) -> None:
        self._shown = shown

    def app(self) -> Starlette:
        """The application."""
        routes = [
            *page_files("view"),
            Route("/api/facts", answered(self._facts)),
            Route("/api/{number:int}/images", answered(self._images), methods=["POST"]),
            Route("/api/{number:int}/place", answered(self._place), methods=["POST"]),
            Route("/api/{number:int}/image", answered(self._image)),
            Route("/api/{number:int}/photograph", answered(self._photograph)),
            Route("/api/{number:int}/tile", answered(self._tile)),
            Route("/api/{number:int}/mask", answered(self._mask)),
        ]
        return Starlette(routes=routes)

    async def _facts(self, _request: Request) -> Response:
        return JSONResponse({"databases": await run_in_threadpool(self._described)})

    def _described(self) -> list[Json]:
        return [
            {
                "name": each.name,
                "has_photographs": each.has_photographs(),
                **_sources(each.database),
                **each.rows.facts(),
            }
            for each in self._shown
        ]

    async def _images(self, request: Request) -> Response:
        wanted = _wanted(await body(request, REQUEST_BYTES))
        return JSONResponse(await run_in_threadpool(self._chosen(request).rows.found, wanted))

    async def _place(self, request: Request) -> Response:
        wanted, image = _wanted(await body(request, REQUEST_BYTES)), _named(request, "id")
        return JSONResponse({"place": await run_in_threadpool(self._chosen(request).rows.place, wanted, image)})

    async def _image(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(_whole_image, self._chosen(request), _named(request, "id")))

    async def _photograph(self, request: Request) -> Response:
        def made() -> bytes:
            chosen = self._chosen(request)
            image = chosen.image(_named(request, "id"))
            return jpeg(_fitted_or_grey(chosen, image, SHOWN))

        return Response(await run_in_threadpool(made), media_type="image/jpeg")

    async def _tile(self, request: Request) -> Response:
        def made() -> bytes:
            wanted = _wanted((_named(request, "wanted") or "{}").encode())
            return jpeg(_tile(self._chosen(request), _named(request, "id"), wanted))

        return Response(await run_in_threadpool(made), media_type="image/jpeg")

    async def _mask(self, request: Request) -> Response:
        def made() -> bytes:
            database = self._chosen(request).database
            wanted = _named(request, "mask")
            for row in database.of_image(_named(request, "id")).to_pylist():
                if row["proposal_id"] == wanted:
                    return mask_png(_fitted_mask(database.mask(row)))
            raise UserError("this image has no such mask")

        return Response(await run_in_threadpool(made), media_type="image/png")

    def _chosen(self, request: Request) -> Browsed:
        number: int = request.path_params["number"]
        if not 0 <= number < len(self._shown):
            raise UserError("there is no such database")
        return self._shown[number]


def _wanted(content: bytes) -> Wanted:
    return decode(content, Wanted, "the request")


def _named(request: Request, name: str) -> str:
    return request.query_params.get(name, "")


def _sources(database: ProposalDatabase) -> Json:
    """The runs that have made the rows: data set and model of each."""
    return {
        "runs": [
            f"{source['dataset']['name']} ({source['dataset']['split']}), {source['model']['architecture']}"
            for source in database.sources
        ]
    }


def _whole_image(shown: Browsed, image_id: str) -> Json:
    """An image with all its rows from fine to coarse, without run lengths, and its rejects."""
    rejects = shown.database.rows_of_image("rejects", image_id).to_pylist()
    images = shown.database.rows_of_image("images", image_id).to_pylist()
    if not images:
        return {"image": None, "has_photograph": False, "masks": [], "rejects": rejects}
    rows = shown.database.of_image(image_id).drop_columns(["rle"]).to_pylist()
    rows.sort(key=lambda row: (row["granularity"], row["area"], row["proposal_id"]))
    found = shown.photograph(images[0]) is not None
    return {"image": images[0], "has_photograph": found, "masks": rows, "rejects": rejects}


def _fitted_or_grey(shown: Browsed, image: Row, longest: int) -> NDArray[np.uint8]:
    """The photograph of an image, or grey, with sides of at most ``longest`` pixels."""
    found = shown.photograph(image)
    if found is None:
        # Without an array of the size of the image, which may be large.
        return np.full((*_fitted_size(image["height"], image["width"], longest), 3), GREY, np.uint8)
    height, width = _fitted_size(found.shape[0], found.shape[1], longest)
    if (height, width) == found.shape[:2]:
        return found
    return np.asarray(cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _fitted_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask with sides of at most ``SHOWN`` pixels, as its photograph is shown."""
    height, width = _fitted_size(mask.shape[0], mask.shape[1], SHOWN)
    if (height, width) == mask.shape:
        return mask
    return np.asarray(cv2.resize(mask.view(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA) > 127)


def _fitted_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """A size in pixels, made smaller if a side is longer than ``longest``."""
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _tile(shown: Browsed, image_id: str, wanted: Wanted) -> NDArray[np.uint8]:
    """A thumbnail of an image with the outlines of its wanted masks, the largest first."""
    image = shown.image(image_id)
    tile = np.ascontiguousarray(_fitted_or_grey(shown, image, THUMBNAIL))
    scale = tile.shape[1] / image["width"]
    rows = shown.database.of_image(image_id).select(TILE_COLUMNS).to_pylist()
    for row in sorted(filter(wanted.takes, rows), key=lambda row: -row["area"])[:TILE_MASKS]:
        mask = decode_crop(row["rle"], row["height"], row["width"])
        contours, _ = cv2.findContours(mask.values.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        offset = np.array([mask.box.left, mask.box.top])
        lines: list[Any] = [np.rint((contour + offset) * scale).astype(np.int32) for contour in contours]
        cv2.polylines(tile, lines, True, COLOURS[row["kind"]].rgb, 1, cv2.LINE_AA)
    return tile
