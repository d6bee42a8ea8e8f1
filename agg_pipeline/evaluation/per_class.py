"""One granularity for each class, chosen on other results: what a user would set who knows the classes."""

from __future__ import annotations

from agg_pipeline.evaluation.results import SUMMARY
from agg_pipeline.evaluation.summary import iou_name
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.errors import UserError
from schemas.numbers import GRANULARITIES


def class_granularities(path: str) -> tuple[tuple[str, float], ...]:
    """The best granularity of each ``level:class`` of a folder of results with curves, and of each ``level`` alone.

    The one with the fewest clicks to the level's target, then the highest IoU@1, then the lowest. UserError if the
    results are not of the mode "curves".
    """
    store = Store(path)
    if not store.exists(SUMMARY):
        raise UserError(f"{path} is no folder of results: it has no {SUMMARY}")
    summary = store.read_json(SUMMARY)
    try:
        config = summary["plan"]["config"]
        if config["mode"] != "curves":
            raise UserError(f"{path} has no results at each granularity; make them with --curves")
        found = {}
        for level, figures in summary["levels"].items():
            target = iou_name(config["clicks"][f"{level}_target"])
            found[level] = _best(figures["all"]["granularity"], target)
            for kind, own in figures["by_class"].items():
                found[f"{level}:{kind}"] = _best(own["granularity"], target)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}/{SUMMARY} is no summary of an evaluation: it lacks {error}") from error
    return tuple(sorted(found.items()))


def _best(granularity: Json, target: str) -> float:
    clicks, ious = granularity["noc"][target], granularity["iou"]["1"]
    return min(GRANULARITIES, key=lambda g: (clicks[_column(g)], -ious[_column(g)], g))


def _column(granularity: float) -> int:
    return GRANULARITIES.index(granularity)
