"""One granularity per class, chosen on other results: what a user would set who knows the classes."""

from __future__ import annotations

from agg_pipeline.evaluation.results_folder import EVALUATE_AGAIN, SUMMARY, read_summary
from agg_pipeline.evaluation.summary import iou_name, metric_config
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.errors import UserError
from schemas.numbers import GRANULARITIES
from schemas.words import excerpt


def class_granularities(path: str) -> tuple[tuple[str, float], ...]:
    """Find the best granularity per class in the results of an evaluation with curves.

    The best has the fewest clicks to the level's target, then the highest IoU@1; of several, the lowest.

    Args:
        path: folder of the results, of other images than those that will be evaluated.

    Returns:
        (name, granularity) pairs, sorted by name: one per ``level:class``, and one per ``level`` for other classes.

    Raises:
        UserError: the folder has no results of an evaluation with curves.
    """
    store = Store(path)
    summary = read_summary(store)
    if summary["plan"]["config"]["mode"] != "curves":
        raise UserError(f"{path} has no results at all granularities; make such results with agg eval run --curves")
    where, found = f"{store.url}/{SUMMARY}", {}
    try:
        clicks = metric_config(summary["plan"]).clicks
    except UserError as error:
        raise UserError(f"{where}: {error}; {EVALUATE_AGAIN}") from error
    targets = {"object": clicks.object_target, "part": clicks.part_target}
    try:
        for level, figures in summary["levels"].items():
            target = iou_name(targets[level])
            found[level] = _best(figures["all"]["granularity"], target)
            for kind, own in figures["by_class"].items():
                found[f"{level}:{kind}"] = _best(own["granularity"], target)
    except KeyError as error:
        raise UserError(
            f"{where} is not the summary of an evaluation, because it lacks {excerpt(str(error))}; {EVALUATE_AGAIN}"
        ) from error
    return tuple(sorted(found.items()))


def _best(granularity: Json | None, target: str) -> float:
    if granularity is None:
        raise KeyError("granularity")
    clicks, ious = granularity["noc"][target], granularity["iou"]["1"]
    best = min(range(len(GRANULARITIES)), key=lambda n: (clicks[n], -ious[n]))
    return GRANULARITIES[best]


def granularities_or_stand_in(path: str) -> tuple[tuple[str, float], ...]:
    """The same, or some granularity if there are no such results yet: a prediction takes as long with any other."""
    return class_granularities(path) if Store(path).exists(SUMMARY) else (("part", 1.0),)
