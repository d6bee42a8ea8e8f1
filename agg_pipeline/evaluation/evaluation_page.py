"""The report of an evaluation: one HTML page with tables, charts, and masks with their clicks."""

from __future__ import annotations

import logging
from collections.abc import Callable

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.evaluation.compare import published_rows
from agg_pipeline.evaluation.granularity_chart import granularity_chart
from agg_pipeline.evaluation.mask_pictures import MARK_RADIUS, MaskPicture, best_median_worst, mask_picture
from agg_pipeline.evaluation.mask_results import masks_of
from agg_pipeline.evaluation.results_folder import REPORT, Evaluation
from agg_pipeline.evaluation.summary import metric_settings
from agg_pipeline.evaluation.terminal_summary import how, interval, remarks, size_of_model
from agg_pipeline.execution.plan import layout_of, model_in_words
from agg_pipeline.report.index_page import index_links
from agg_pipeline.report.templates import filled
from agg_pipeline.report.text_table import Table
from schemas.canonical import Json
from schemas.words import few_of, plural

LOG = logging.getLogger(__name__)

MAX_CLASSES = 40
"""Rows of the table by class: the classes with the most masks."""


def write_report(
    evaluation: Evaluation,
    dataset: Dataset,
    pictures: int,
    with_published: bool,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write ``report.html``, a self-contained page, beside the tables of an evaluation.

    A mask that cannot be drawn any more, or that has changed, becomes a line that says so, and a warning.

    Args:
        evaluation: the finished evaluation.
        dataset: data set that was evaluated.
        pictures: number of pictures per level of the best, of the median, and of the worst masks.
        with_published: whether to show the paper's rows beside ours.
        check: called before the page is written; raises UserError if the folder is another run's by now. Drawing takes
            a while.
    """
    summary = evaluation.summary
    settings = metric_settings(summary["plan"])
    tables, class_tables, charts = [], [], []
    for level in summary["levels"]:
        tables += _main_tables(summary, level, with_published)
        class_tables += _class_tables(summary, level)
        charts += _charts(summary, level)
    page = filled(
        "evaluation.html.j2",
        links=index_links(evaluation.store),
        summary=summary,
        plan=summary["plan"],
        how=how(summary),
        remarks=remarks(summary),
        timings=evaluation.timings,
        tables=tables,
        class_tables=class_tables,
        charts=charts,
        gallery=_gallery(evaluation, dataset, pictures),
        radius=MARK_RADIUS,
        limit=settings.max_clicks,
        model=model_in_words(summary["plan"]["model"]),
        mean=_mean,
        size_of_model=size_of_model,
    )
    check()
    evaluation.store.write(REPORT, page.encode())


def _mean(estimate: Json, images: int, digits: int = 2) -> str:
    return "-" if estimate["mean"] is None else interval(estimate, images, digits)


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
        *(interval(mean, figures["images"]) for mean in figures["noc"].values()),
        *map(str, figures["at_limit"].values()),
        *(interval(mean, figures["images"], 3) for mean in figures["iou"].values()),
    )


def _main_tables(summary: Json, level: str, with_published: bool) -> list[Table]:
    """The metrics of all masks, with the paper's rows, and by size."""
    found = summary["levels"][level]
    figures = found["all"]
    head = _head(summary, figures)
    rows = [_row(model_in_words(summary["plan"]["model"]), figures)]
    if with_published:
        rows += _published(summary, level, list(figures["noc"]), len(head))
    by_size = tuple(_row(size, own) for size, own in found["by_size"].items())
    return [
        Table(f"{level}s".capitalize(), head, tuple(rows), frozenset({1})),
        Table(f"By COCO size: {level}s", head, by_size),
    ]


def _published(summary: Json, level: str, noc_at: list[str], width: int) -> list[tuple[str, ...]]:
    """The paper's rows in the columns of ``_head``: the paper gives NoC, and IoU after one click."""
    rows = []
    count = len(noc_at)
    for label, *numbers in published_rows(layout_of(summary["plan"]), level, [*noc_at, "IoU@1"], count + 1):
        at_limit = ["-"] * count
        row = [label, "-", *numbers[:count], *at_limit, numbers[count]]
        rows.append((*row, *["-"] * (width - len(row))))
    return rows


def _class_tables(summary: Json, level: str) -> list[Table]:
    """The metrics by class; no table for masks without classes."""
    by_class = summary["levels"][level]["by_class"]
    if not any(by_class):
        return []
    classes = sorted(by_class, key=lambda kind: (-by_class[kind]["masks"], kind))
    title = f"By class: {level}s"
    if len(classes) > MAX_CLASSES:
        title += f" (the {MAX_CLASSES} with the most masks of {len(classes)}; all are in summary.json)"
    rows = tuple(_row(kind or "unknown", by_class[kind]) for kind in classes[:MAX_CLASSES])
    return [Table(title, _head(summary, summary["levels"][level]["all"]), rows)]


def _charts(summary: Json, level: str) -> list[Json]:
    """The chart over granularities; none if the evaluation tried only one."""
    found = summary["levels"][level]
    if "granularity" not in found["all"]:
        return []
    drawing = granularity_chart(found["all"], found["by_class"], level)
    return [{"level": level, "drawing": drawing, "granularity": found["all"]["granularity"]}]


def _gallery(evaluation: Evaluation, dataset: Dataset, pictures: int) -> list[tuple[str, list[MaskPicture | str]]]:
    """(title, pictures) of the best, median and worst masks of every level."""
    tables, settings = evaluation.tables, metric_settings(evaluation.summary["plan"])
    masks = masks_of(tables["targets"], tables["objects"])
    entries = {entry.image_id: entry for entry in dataset.entries}
    gallery = []
    for level in evaluation.summary["levels"]:
        chosen = best_median_worst([mask for mask in masks if mask.level == level], settings, pictures)
        for name, group in chosen.items():
            drawn = [mask_picture(mask, tables, dataset, entries, settings) for mask in group]
            gallery.append((f"{name} {level}s", drawn))
    left_out = [picture for _, drawn in gallery for picture in drawn if isinstance(picture, str)]
    if left_out:
        LOG.warning("%s cannot be drawn: %s", plural(len(left_out), "mask"), few_of(left_out))
    return gallery
