"""``agg eval adapted``: a click model with and without its adapter, beside the controls of a fair comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.evaluation.arm_definitions import ARMS, Arm
from agg_pipeline.evaluation.compare import comparison, same_masks
from agg_pipeline.evaluation.per_class import class_granularities
from agg_pipeline.evaluation.results import Results, open_results
from agg_pipeline.report.text_table import Table, markdown
from agg_pipeline.storage.store import Store
from schemas.config import EvaluationConfig
from schemas.errors import UserError
from schemas.resolve import override, validated

TABLES = "comparison.md"
CURVES = "curves"
"""Folder of the results from which each class gets its granularity."""


Evaluate = Callable[[Dataset, bool, EvaluationConfig, str], None]
"""Evaluates a data set, with the adapter or without, into a folder of results."""


def fitting(names: Sequence[str], dataset: Dataset) -> list[str]:
    """These arms or, without names, all that the data set has masks for; UserError for a named one without."""
    for name in names:
        if not set(dataset.levels) & set(ARMS[name].levels):
            raise UserError(f"{name} is about parts, and data set {dataset.name} has none")
    return [name for name in names or ARMS if set(dataset.levels) & set(ARMS[name].levels)]


def evaluate_adapted(
    dataset: Dataset,
    others: Dataset | None,
    config: EvaluationConfig,
    names: Sequence[str],
    calibrated: int,
    out: str,
    models: str,
    evaluate: Evaluate,
) -> list[Table]:
    """Run the arms of these names (``fitting``), and compare them level by level.

    others: other images of the set, from ``calibrated`` parts of which each class gets its granularity; ValueError if
    there are none for ``by-class``. out: with a folder for each arm, and the tables; models: the line above them.
    """
    if "by-class" in names and others is None:
        raise ValueError("by-class needs other images")
    store = Store(out).anchored()
    for name in names:
        arm = ARMS[name]
        # An arm of both levels keeps the configured one.
        level = {"level": arm.levels[0]} if len(arm.levels) == 1 else {}
        own = override(config, {**arm.changes, **level})
        if name == "by-class" and others is not None:
            changes = {"mode": "curves", "sample": calibrated, "clicks": {"early_stop": False}}
            evaluate(others, True, validated(override(own, changes)), store.below(CURVES).url)
            own = replace(own, granularities=class_granularities(store.below(CURVES).url))
        evaluate(dataset, arm.adapted, validated(own), store.below(name).url)
    results = [(ARMS[name], open_results(store.below(name).url)) for name in names]
    tables = [table for level in ("object", "part") for table in _compared(level, results)]
    store.write(TABLES, f"{models}\n\n{markdown(tables)}".encode())
    return tables


def _compared(level: str, results: Sequence[tuple[Arm, Results]]) -> list[Table]:
    """The table of a level: the arms that have its masks."""
    own = []
    for arm, each in results:
        masks = tuple(mask for mask in each.masks if mask.level == level)
        if masks:
            own.append(replace(each, name=arm.name, masks=masks))
    return comparison(same_masks(own, intersect=False), with_published=False) if own else []
