"""``agg eval adapted``: a fine-tuned model beside its base model, and the controls of a fair comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.evaluation.arms import ARMS, Arm
from agg_pipeline.evaluation.compare import comparison, same_masks
from agg_pipeline.evaluation.comparison_page import PAGE, comparison_page
from agg_pipeline.evaluation.per_class import class_granularities
from agg_pipeline.evaluation.results_folder import REPORT, Results, open_results
from agg_pipeline.report.index_page import Link, index_links
from agg_pipeline.report.text_table import Table, markdown
from agg_pipeline.storage.store import Store
from schemas.config import EvaluationConfig
from schemas.errors import UserError
from schemas.resolve import override, validated

TABLES = "comparison.md"
"""File of the tables."""
CURVES = "curves"
"""Folder of the results by which the granularity of each class is chosen."""


@dataclass(frozen=True, eq=False)
class PlannedEvaluation:
    """One evaluation of a comparison.

    Attributes:
        name: name of the arm, or ``curves`` for the evaluation that ``by-class`` takes its granularities from.
        dataset: data set to evaluate.
        fine_tuned: whether the adapter is used.
        config: configuration of the evaluation.
        folder: folder of its results, a path or URL.
    """

    name: str
    dataset: Dataset
    fine_tuned: bool
    config: EvaluationConfig
    folder: str

    @property
    def arm(self) -> str:
        """Name of the arm that needs this evaluation."""
        return "by-class" if self.name == CURVES else self.name


def fitting(names: Sequence[str], dataset: Dataset) -> list[str]:
    """Choose the arms that a data set has masks for.

    Args:
        names: wanted arms; empty for all that fit.
        dataset: the data set.

    Returns:
        Names of arms.

    Raises:
        UserError: a wanted arm needs masks that the data set does not have.
    """
    for name in names:
        if not set(dataset.levels) & set(ARMS[name].levels):
            raise UserError(f"{name} evaluates parts, and data set {dataset.name} has none; leave --only {name} out")
    return [name for name in names or ARMS if set(dataset.levels) & set(ARMS[name].levels)]


def run_arms(
    planned: Iterable[PlannedEvaluation], out: str, models: str, evaluate: Callable[[PlannedEvaluation], None]
) -> list[Table]:
    """Run several arms and compare them level by level.

    Args:
        planned: the evaluations (``evaluations``); each is made when the one before it has been run.
        out: output folder, which gets ``comparison.html`` and ``comparison.md``.
        models: line above the tables that names the models.
        evaluate: runs one evaluation, and writes its folder of results.

    Returns:
        The tables.
    """
    store, results = Store(out).anchored(), []
    for each in planned:
        evaluate(each)
        if each.name in ARMS:
            results.append((ARMS[each.name], open_results(each.folder)))
    tables = [table for level in ("object", "part") for table in _compared(level, results)]
    links = [*index_links(store), *(Link(f"Report of {arm.name}", f"{arm.name}/{REPORT}") for arm, _ in results)]
    named = [replace(found, name=arm.name) for arm, found in results]
    store.write(PAGE, comparison_page(named, tables, links, models).encode())
    store.write(TABLES, f"{models}\n\n{markdown(tables)}".encode())
    return tables


def evaluations(
    dataset: Dataset,
    others: Dataset | None,
    config: EvaluationConfig,
    names: Sequence[str],
    calibrated: int,
    out: str,
    granularities: Callable[[str], tuple[tuple[str, float], ...]] = class_granularities,
) -> Iterator[PlannedEvaluation]:
    """The evaluations of several arms, in the order in which they are run.

    Args:
        dataset: data set to evaluate.
        others: other images of the set; None if ``by-class`` is not among the arms.
        config: configuration that the arms change.
        names: arms.
        calibrated: parts that are drawn from ``others``.
        out: output folder.
        granularities: reads the granularity of each class from results; called when these have been made.

    Raises:
        ValueError: ``by-class`` is run without other images.
    """
    if "by-class" in names and others is None:
        raise ValueError("by-class needs other images")
    store = Store(out).anchored()
    for name in names:
        arm_config = config_of(ARMS[name], config)
        if name == "by-class" and others is not None:
            folder = store.below(CURVES).url
            yield PlannedEvaluation(CURVES, others, True, _calibration_config(arm_config, calibrated), folder)
            arm_config = replace(arm_config, granularities=granularities(folder))
        folder = store.below(name).url
        yield PlannedEvaluation(name, dataset, ARMS[name].fine_tuned, validated(arm_config), folder)


def config_of(arm: Arm, config: EvaluationConfig) -> EvaluationConfig:
    """The configuration of an arm; that of ``by-class`` still lacks its granularities."""
    # An arm of both levels keeps the configured level.
    level = {"level": arm.levels[0]} if len(arm.levels) == 1 else {}
    changed: EvaluationConfig = override(config, {**arm.changes, **level})
    return changed


def _calibration_config(config: EvaluationConfig, parts: int) -> EvaluationConfig:
    changes = {"mode": "curves", "sample": parts, "clicks": {"early_stop": False}}
    changed: EvaluationConfig = validated(override(config, changes))
    return changed


def _compared(level: str, results: Sequence[tuple[Arm, Results]]) -> list[Table]:
    """The table of a level, over the arms that have masks of it."""
    of_level = []
    for arm, arm_results in results:
        masks = tuple(mask for mask in arm_results.masks if mask.level == level)
        if masks:
            of_level.append(replace(arm_results, name=arm.name, masks=masks))
    return comparison(same_masks(of_level, intersect=False), with_published=False) if of_level else []
