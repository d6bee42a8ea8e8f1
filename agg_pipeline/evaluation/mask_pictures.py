"""Evaluated masks as drawn in the report: ground truth, predictions and clicks over the photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.evaluated_masks import targets_of
from agg_pipeline.evaluation.mask_results import MaskResult, iou_after
from agg_pipeline.evaluation.results_folder import Tables
from agg_pipeline.evaluation.summary import MetricSettings
from agg_pipeline.figures.svg import View, less_narrow, view_of, widened
from agg_pipeline.storage.rle import decode_crop, encode
from schemas.canonical import Row
from schemas.config import EvaluationConfig
from schemas.crop import Box, MaskCrop, area, enclosing
from schemas.errors import ImageError
from schemas.records import ImageEntry, Pixels
from stages.evaluate import noc

PICTURE = (380, 380)
"""Largest height and width of a picture, CSS pixels."""
THUMBNAIL = (110, 110)
"""Largest height and width of a thumbnail, CSS pixels."""
MARGIN = 0.12
"""Margin around what is drawn, as a share of its longer side."""
NARROWEST = 1.6
"""Largest ratio of the sides of a picture, where the image is large enough."""
MARK_RADIUS = 6.5
"""Radius of a click's mark, CSS pixels."""


@dataclass(frozen=True)
class ClickMark:
    """A click in a drawing.

    Attributes:
        number: number of the click, from 1.
        positive: whether it is a positive click.
        x: place from the left, CSS pixels.
        y: place from the top, CSS pixels.
    """

    number: int
    positive: bool
    x: float
    y: float


@dataclass(frozen=True)
class Thumbnail:
    """The prediction after the first click at one granularity.

    Attributes:
        granularity: the granularity.
        outline: SVG path of the predicted mask.
        iou: its IoU.
        chosen: whether the interaction is the reported one.
    """

    granularity: float
    outline: str
    iou: float
    chosen: bool


@dataclass(frozen=True)
class MaskPicture:
    """An evaluated mask as drawn.

    Attributes:
        title: class and id of the mask.
        facts: NoC and IoU in words.
        view: part of the image that is drawn.
        photograph: data URI of that part.
        truth: SVG path of the ground truth.
        predicted: SVG path of the last prediction.
        marks: the clicks in order.
        small: the same part as ``view``, of the size of a thumbnail.
        thumbnails: first predictions by granularity; empty if there is one interaction.
    """

    title: str
    facts: str
    view: View
    photograph: str
    truth: str
    predicted: str
    marks: tuple[ClickMark, ...]
    small: View
    thumbnails: tuple[Thumbnail, ...]


def best_median_worst(masks: Sequence[MaskResult], settings: MetricSettings, count: int) -> dict[str, list[MaskResult]]:
    """Choose masks to show, ordered by clicks to their target, then by the IoU of the first click.

    Args:
        masks: masks of one level.
        settings: of the evaluation.
        count: masks per group.

    Returns:
        The first, middle and last masks by the name of their group, or all masks if there are not more.
    """
    ordered = sorted(
        masks,
        key=lambda mask: (noc(mask.chosen.ious, mask.target, settings.max_clicks), -iou_after(mask.chosen, 1)),
    )
    if len(ordered) <= 3 * count:
        return {"All": ordered}
    if count == 0:
        return {}
    middle = max(0, len(ordered) // 2 - count // 2)
    return {"Best": ordered[:count], "Median": ordered[middle : middle + count], "Worst": ordered[-count:]}


def mask_picture(
    mask: MaskResult, tables: Tables, dataset: Dataset, entries: Mapping[str, ImageEntry], settings: MetricSettings
) -> MaskPicture | str:
    """Draw an evaluated mask, if its image and its ground truth are those that were evaluated.

    Args:
        mask: the mask.
        tables: tables of the evaluation.
        dataset: data set that was evaluated.
        entries: its images by id.
        settings: of the evaluation.

    Returns:
        The picture, or a line that says why there is none.
    """
    if mask.image_id not in entries:
        return f"{mask.target_id}: the data set does not list its image any more"
    try:
        record = dataset.read(entries[mask.image_id])
    except ImageError as error:
        return f"{mask.target_id}: {error.detail}"
    evaluated = _rows_of(tables["targets"], mask.target_id)[0]
    if record.sha256 != evaluated["sha256"]:
        return f"{mask.target_id}: the image has changed since it was evaluated"
    for target in targets_of(record, EvaluationConfig()):
        if target.target_id == mask.target_id:
            if encode(target.truth) != evaluated["rle"]:
                return f"{mask.target_id}: the mask has changed since it was evaluated"
            return _drawn(mask, record.pixels, target.truth, tables, settings)
    return f"{mask.target_id}: the data set does not have it any more"


def _drawn(mask: MaskResult, pixels: Pixels, truth: MaskCrop, tables: Tables, settings: MetricSettings) -> MaskPicture:
    height, width = pixels.shape[:2]
    predictions = _predictions(tables["masks"], mask, height, width)
    last = predictions[mask.interactions.index(mask.chosen)][-1]
    clicks = [row for row in _rows_of(tables["objects"], mask.target_id) if row["chosen"]]
    box = widened(_box_of(truth.box, last, clicks), MARGIN, height, width)
    view = view_of(less_narrow(box, NARROWEST, height, width), *PICTURE)
    small = view_of(view.box, *THUMBNAIL)
    return MaskPicture(
        title=f"{mask.class_name or mask.level} · {mask.target_id}",
        facts=_facts(mask, settings),
        view=view,
        photograph=view.photograph(pixels),
        truth=view.outline(truth),
        predicted=view.outline(last),
        marks=tuple(_mark(row, view) for row in clicks),
        small=small,
        thumbnails=_thumbnails(mask, predictions, small),
    )


def _facts(mask: MaskResult, settings: MetricSettings) -> str:
    chosen = mask.chosen
    needed = noc(chosen.ious, mask.target, settings.max_clicks)
    first, last = chosen.ious[0], chosen.ious[-1]
    facts = f"NoC@{100 * mask.target:g} {needed} · IoU {first:.2f} after one click, {last:.2f} at the end"
    return facts if chosen.granularity is None else f"{facts} · granularity {chosen.granularity:g}"


def _mark(row: Row, view: View) -> ClickMark:
    x, y, _ = view.position(row["row"], row["col"], MARK_RADIUS)
    return ClickMark(row["click"], row["positive"], x, y)


def _thumbnails(mask: MaskResult, predictions: Sequence[Sequence[MaskCrop]], view: View) -> tuple[Thumbnail, ...]:
    thumbnails = tuple(
        Thumbnail(each.granularity, view.outline(predicted[0]), each.ious[0], each.chosen)
        for each, predicted in zip(mask.interactions, predictions, strict=True)
        if each.granularity is not None
    )
    return thumbnails if len(thumbnails) > 1 else ()


def _predictions(masks: pa.Table, mask: MaskResult, height: int, width: int) -> list[list[MaskCrop]]:
    """The first and the last prediction of every interaction; one prediction if it had one click."""
    predictions: list[list[MaskCrop]] = [[] for _ in mask.interactions]
    for row in _rows_of(masks, mask.target_id):
        predictions[row["attempt"]].append(decode_crop(row["rle"], height, width))
    return predictions


def _rows_of(table: pa.Table, target_id: str) -> list[Row]:
    rows: list[Row] = table.filter(pc.equal(table["target_id"], target_id)).to_pylist()
    return rows


def _box_of(truth: Box, predicted: MaskCrop, clicks: Sequence[Row]) -> Box:
    """The smallest box that contains the ground truth, the prediction and the clicks."""
    box = enclosing(truth, predicted.box) if area(predicted) else truth
    for row in clicks:
        box = enclosing(box, Box(row["row"], row["col"], 1, 1))
    return box
