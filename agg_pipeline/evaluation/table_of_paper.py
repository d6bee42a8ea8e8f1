"""``agg eval table``: the paper's Tables 1 and 2, with our results among the published rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agg_pipeline.evaluation.published import LEVELS, all_published
from agg_pipeline.evaluation.results_folder import read_summary
from agg_pipeline.evaluation.summary import iou_name
from agg_pipeline.evaluation.terminal_summary import how
from agg_pipeline.evaluation.timings import read_timings
from agg_pipeline.execution.plan import layout_of, model_in_words
from agg_pipeline.report.text_table import Table
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.errors import UserError
from schemas.words import excerpt

METRICS = ("0.85", "0.90", "IoU@1")
"""What is shown of data sets that the paper does not have."""


@dataclass(frozen=True)
class MeasuredRow:
    """One evaluation as a part of a row.

    Attributes:
        method: name of the row: model and mode, or what the user calls it.
        dataset: name of the data set.
        values: numbers by metric, NoC by its IoU (such as "0.85"), and "IoU@1".
        seconds: median of the seconds per click (SPC); None if it was not measured.
        parameters: number of the model's weights; None if it is unknown.
        masks: number of masks.
    """

    method: str
    dataset: str
    values: dict[str, str]
    seconds: float | None
    parameters: int | None
    masks: int


def measured_row(path: str, name: str | None) -> MeasuredRow:
    """Read what a folder of results has for the table.

    Args:
        path: folder of results, a path or URL.
        name: name of its row; None for the model and the mode of the evaluation.

    Raises:
        UserError: the folder holds no results, or none of the level that the paper has for the data set.
    """
    store = Store(path)
    summary = read_summary(store)
    dataset = layout_of(summary["plan"])
    levels = summary["levels"]
    # Of a set that the paper does not have: its objects, or else its parts.
    level = LEVELS.get(dataset, "object") if dataset in LEVELS or "object" in levels else "part"
    if level not in levels:
        raise UserError(f"{excerpt(path)} has no {level}s, which the paper's table is about for {dataset}")
    figures = levels[level]["all"]
    values = {iou_name(float(iou)): f"{mean['mean']:.2f}" for iou, mean in figures["noc"].items()}
    values["IoU@1"] = f"{figures['iou']['1']['mean']:.2f}"
    latency = (read_timings(store) or {}).get("latency") or {}
    method, masks = name or _method(summary), int(figures["masks"])
    return MeasuredRow(method, dataset, values, latency.get("median"), latency.get("parameters"), masks)


def _method(summary: Json) -> str:
    """Model and mode; a model that has no granularities is named without saying so."""
    model, mode = summary["plan"]["model"], how(summary)
    if not model.get("adapter"):
        mode = mode.removeprefix("no granularity").removeprefix(", ")
    return ", ".join(text for text in (model_in_words(model), mode) if text)


def paper_table(rows: Sequence[MeasuredRow], number: int) -> Table:
    """One of the paper's tables with rows of our own below the published ones.

    Args:
        rows: our evaluations; those of one method make one row.
        number: number of the table, 1 or 2.

    Returns:
        The table: NoC per data set as the paper gives it, then data sets that only we have, the seconds per click
        (SPC) and the number of weights of our rows.

    Raises:
        UserError: two evaluations are of the same method and data set.
    """
    columns, published = all_published(number)
    known = {dataset for dataset, _ in columns}
    others = [row.dataset for row in rows if row.dataset not in known]
    columns = [*columns, *((dataset, iou) for dataset in dict.fromkeys(others) for iou in METRICS)]
    ours: dict[str, dict[str, MeasuredRow]] = {}
    for row in rows:
        own = ours.setdefault(row.method, {})
        if row.dataset in own:
            raise UserError(
                f"two of the results are of {excerpt(row.method)} on {row.dataset}; give one of them another --name"
            )
        own[row.dataset] = row
    lines = [
        (f"{method}, {backbone}", *(values.get(column, "-") for column in columns), "-", "-")
        for method, backbone, values in published
    ]
    lines += [_line(method, own, columns) for method, own in ours.items()]
    head = ("", *(f"{dataset} {_metric(metric)}" for dataset, metric in columns), "SPC", "weights")
    title = f"Table {number} of the paper; below the line, measured here"
    return Table(title, head, tuple(lines), frozenset({len(published)}))


def _line(method: str, own: dict[str, MeasuredRow], columns: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    cells = [own[dataset].values.get(metric, "-") if dataset in own else "-" for dataset, metric in columns]
    seconds = [row.seconds for row in own.values() if row.seconds is not None]
    weights = [row.parameters for row in own.values() if row.parameters is not None]
    return (
        method,
        *cells,
        f"{1000 * sum(seconds) / len(seconds):.0f} ms" if seconds else "-",
        f"{max(weights) / 1e6:.1f}M" if any(weights) else "-",
    )


def _metric(metric: str) -> str:
    return metric if metric.startswith("IoU") else f"NoC@{100 * float(metric):g}"
