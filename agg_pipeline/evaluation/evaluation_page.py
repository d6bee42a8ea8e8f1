"""The report of an evaluation: one HTML page with tables, curves, a histogram, and masks with their clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.evaluated_masks import EvaluatedMask, targets_of
from agg_pipeline.evaluation.compare import published_rows
from agg_pipeline.evaluation.results import REPORT, Evaluation
from agg_pipeline.evaluation.results_table import how, interval, remarks
from agg_pipeline.evaluation.summary import Mask, Protocol, iou_after, masks_of, protocol_of
from agg_pipeline.report.plots import new_figure, png, png_uri
from agg_pipeline.report.svg import View, view_of, widened
from agg_pipeline.report.templates import filled
from agg_pipeline.report.text_table import Table
from agg_pipeline.storage.rle import decode
from schemas.canonical import Json
from schemas.config import EvaluationConfig
from schemas.crop import Box, enclosing, tight_box
from schemas.errors import ImageError
from stages.evaluate import noc

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE = (280, 268)
THUMBNAIL = (52, 46)
"""Largest height and width of a drawing."""
MARGIN = 0.12
MARK_RADIUS = 6.5
CLASSES = 40
"""Classes in the table by class, those with the most masks."""
COLOURS = ("#2f8cff", "#f59a00", "#1fae54", "#b05cff", "#e5323b", "#6a6d72")

Pixels = NDArray[np.bool_]


@dataclass(frozen=True)
class Mark:
    """A click in a drawing, with its number."""

    number: int
    positive: bool
    x: float
    y: float


@dataclass(frozen=True)
class Thumbnail:
    """The first mask of an interaction."""

    granularity: float
    outline: str
    iou: float
    chosen: bool


@dataclass(frozen=True)
class Picture:
    """An evaluated mask as drawn: its outline, the last predicted mask, the clicks, and the first masks."""

    title: str
    facts: str
    view: View
    photograph: str
    truth: str
    predicted: str
    marks: tuple[Mark, ...]
    small: View
    thumbnails: tuple[Thumbnail, ...]


def write_report(evaluation: Evaluation, dataset: Dataset, pictures: int, with_published: bool) -> None:
    """Write ``report.html``, self-contained, beside the tables. pictures: of the best, median and worst masks each."""
    summary, protocol = evaluation.summary, protocol_of(evaluation.summary["plan"])
    masks = masks_of(evaluation.tables["targets"], evaluation.tables["objects"])
    gallery = []
    for level in summary["levels"]:
        chosen = _best_median_worst([mask for mask in masks if mask.level == level], protocol, pictures)
        for name, some in chosen.items():
            gallery.append((f"{name} {level}s", [_picture(mask, evaluation, dataset, protocol) for mask in some]))
    page = filled(
        "evaluation.html.j2",
        summary=summary,
        plan=summary["plan"],
        how=how(summary),
        remarks=remarks(summary),
        timings=evaluation.timings,
        tables=[table for level in summary["levels"] for table in _main_tables(summary, level, with_published)],
        class_tables=list(filter(None, (_class_table(summary, level) for level in summary["levels"]))),
        charts=[_chart(summary, level) for level, found in summary["levels"].items() if "granularity" in found["all"]],
        gallery=gallery,
        radius=MARK_RADIUS,
        limit=protocol.max_clicks,
    )
    evaluation.store.write(REPORT, page.encode())


def _head(summary: Json, figures: Json) -> tuple[str, ...]:
    """The columns of Tables 1 and 2."""
    limit = summary["plan"]["config"]["clicks"]["max_clicks"]
    carried = "*" if summary["iou_carried_forward"] else ""
    return (
        "",
        "masks",
        *(f"NoC@{100 * float(iou):g}" for iou in figures["noc"]),
        *(f">={limit}@{100 * float(iou):g}" for iou in figures["noc"]),
        *(f"IoU@{k}{carried if k != '1' else ''}" for k in figures["iou"]),
    )


def _row(name: str, figures: Json) -> tuple[str, ...]:
    return (
        name,
        str(figures["masks"]),
        *(interval(mean) for mean in figures["noc"].values()),
        *map(str, figures["at_limit"].values()),
        *(interval(mean, 3) for mean in figures["iou"].values()),
    )


def _main_tables(summary: Json, level: str, with_published: bool) -> list[Table]:
    """The model, with the paper's rows, and its figures by size."""
    found, model = summary["levels"][level], summary["plan"]["model"]
    figures = found["all"]
    head, noc_at = _head(summary, figures), list(figures["noc"])
    name = f"{model['architecture']} at {model['input_size']}" + (" with adapter" if "adapter" in model else "")
    rows = [_row(name, figures)]
    if with_published:
        published = published_rows(summary["plan"]["dataset"]["name"], level, [*noc_at, "IoU@1"], len(noc_at) + 1)
        for label, *numbers in published:
            others = ["-"] * (len(head) - 2 - len(numbers))
            rows.append((label, "-", *numbers[:-1], *others[: len(noc_at)], numbers[-1], *others[len(noc_at) :]))
    by_size = tuple(_row(size, own) for size, own in found["by_size"].items())
    return [
        Table(f"{level}s".capitalize(), head, tuple(rows), frozenset({1})),
        Table(f"By COCO size: {level}s", head, by_size),
    ]


def _class_table(summary: Json, level: str) -> Table | None:
    """The figures by class, None for a set without classes."""
    by_class = summary["levels"][level]["by_class"]
    if not any(by_class):
        return None
    classes = sorted(by_class, key=lambda kind: (-by_class[kind]["masks"], kind))
    title = f"By class: {level}s"
    if len(classes) > CLASSES:
        title += f" (the {CLASSES} with the most masks of {len(classes)}; all are in summary.json)"
    rows = tuple(_row(kind or "unknown", by_class[kind]) for kind in classes[:CLASSES])
    return Table(title, _head(summary, summary["levels"][level]["all"]), rows)


def _chart(summary: Json, level: str) -> Json:
    """Curves of Fig. 4, the histogram of Fig. 6, and controllability, of a level."""
    granularity = summary["levels"][level]["all"]["granularity"]
    values = granularity["values"]
    classes = _shown_classes(summary["levels"][level]["by_class"])
    figure = new_figure(13, 3.8)
    left, *middle, right = figure.subplots(1, 3 if classes else 2)
    curves = {f"IoU@{k}": curve for k, curve in granularity["iou"].items()}
    _draw_curves(left, values, curves, "mean IoU")
    for axes in middle:
        _draw_curves(axes, values, {kind: each["granularity"]["iou"]["1"] for kind, each in classes}, "mean IoU@1")
    shares = np.array(granularity["chosen"]) / max(1, sum(granularity["chosen"]))
    right.bar(values, shares, width=0.07, color=COLOURS[0])
    right.set_xlabel("optimal granularity")
    right.set_ylabel(f"share of the {level}s")
    for axes in (left, *middle, right):
        axes.set_xticks(values)
        axes.spines[["top", "right"]].set_visible(False)
    return {"level": level, "picture": png_uri(png(figure)), "granularity": granularity}


def _shown_classes(by_class: Json) -> list[tuple[str, Json]]:
    """The classes with the most masks, by name; none if all masks are of one class, or of none."""
    named = [(kind, figures) for kind, figures in by_class.items() if kind]
    return sorted(named, key=lambda each: -each[1]["masks"])[: len(COLOURS)] if len(named) > 1 else []


def _draw_curves(axes: Axes, values: Sequence[float], curves: dict[str, list[float]], label: str) -> None:
    """One line for each name, with a star at its maximum."""
    for colour, (name, curve) in zip(COLOURS, curves.items(), strict=False):
        axes.plot(values, curve, "o-", color=colour, label=name, markersize=4)
        top = int(np.argmax(curve))
        axes.plot(values[top], curve[top], "*", color="#e5323b", markersize=12)
    axes.set_xlabel("granularity")
    axes.set_ylabel(label)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8)


def _best_median_worst(masks: Sequence[Mask], protocol: Protocol, count: int) -> dict[str, list[Mask]]:
    """The first, middle and last masks in the order of clicks to their target, then of the IoU of the first click."""
    ordered = sorted(
        masks,
        key=lambda mask: (noc(mask.chosen.ious, mask.target, protocol.max_clicks), -iou_after(mask.chosen, 1)),
    )
    if len(ordered) <= 3 * count:
        return {"All": ordered}
    middle = max(0, len(ordered) // 2 - count // 2)
    groups = {"Best": ordered[:count], "Median": ordered[middle : middle + count], "Worst": ordered[-count:]}
    return groups if count else {}


def _picture(mask: Mask, evaluation: Evaluation, dataset: Dataset, protocol: Protocol) -> Picture | str:
    """The mask as drawn, or why it cannot be."""
    entry = next((each for each in dataset.entries if each.image_id == mask.image_id), None)
    if entry is None:
        return f"{mask.target_id}: the data set does not list its image any more"
    config = EvaluationConfig()
    try:
        record = dataset.read(entry)
    except ImageError as error:
        return f"{mask.target_id}: {error.detail}"
    target = next((each for each in targets_of(record, config) if each.target_id == mask.target_id), None)
    if target is None:
        return f"{mask.target_id}: the data set does not have it any more"
    predicted = _predictions(evaluation.tables["masks"], mask, record.height, record.width)
    number = next(n for n, run in enumerate(mask.runs) if run.chosen)
    clicks = _clicks(evaluation.tables["objects"], mask.target_id)
    last = predicted[number][-1]
    box = _box_around(target, last, [(row["row"], row["col"]) for row in clicks])
    view = view_of(widened(box, MARGIN, record.height, record.width), *PICTURE)
    small = view_of(view.box, *THUMBNAIL)
    run = mask.chosen
    needed = noc(run.ious, mask.target, protocol.max_clicks)
    facts = f"NoC@{100 * mask.target:g} {needed} · IoU {run.ious[0]:.2f} after one click, {run.ious[-1]:.2f} at the end"
    if run.granularity is not None:
        facts += f" · granularity {run.granularity:g}"
    thumbnails = [
        Thumbnail(each.granularity, small.outline(predicted[n][0]), each.ious[0], each.chosen)
        for n, each in enumerate(mask.runs)
        if each.granularity is not None
    ]
    return Picture(
        title=f"{mask.kind or mask.level} · {mask.target_id}",
        facts=facts,
        view=view,
        photograph=view.photograph(record.pixels),
        truth=view.outline(target.subject.truth.full()),
        predicted=view.outline(last),
        marks=tuple(
            Mark(row["click"], row["positive"], *view.position(row["row"], row["col"], MARK_RADIUS)[:2])
            for row in clicks
        ),
        small=small,
        thumbnails=tuple(thumbnails) if len(thumbnails) > 1 else (),
    )


def _predictions(masks: pa.Table, mask: Mask, height: int, width: int) -> list[list[Pixels]]:
    """Of each interaction the first and the last mask (the same if it had one click)."""
    rows = _rows_of(masks, mask.target_id)
    runs: list[list[Pixels]] = [[] for _ in mask.runs]
    for row in rows:
        runs[row["attempt"]].append(decode(row["rle"], height, width))
    return runs


def _clicks(clicks: pa.Table, target_id: str) -> list[dict[str, Any]]:
    return [row for row in _rows_of(clicks, target_id) if row["chosen"]]


def _rows_of(table: pa.Table, target_id: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.filter(pc.equal(table["target_id"], target_id)).to_pylist()
    return rows


def _box_around(target: EvaluatedMask, predicted: Pixels, clicks: Sequence[tuple[int, int]]) -> Box:
    """The box of mask, prediction and clicks."""
    box = target.subject.truth.box
    tight = tight_box(predicted)
    if tight is not None:
        box = enclosing(box, tight)
    for row, col in clicks:
        box = enclosing(box, Box(row, col, 1, 1))
    return box
