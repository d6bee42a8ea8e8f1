"""One granularity per class, chosen on other results: what a user would set who knows the classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.evaluation.results_folder import EVALUATE_AGAIN, SUMMARY, read_summary
from agg_pipeline.evaluation.summary import iou_name, metric_config
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.errors import UserError
from schemas.numbers import GRANULARITIES
from schemas.words import excerpt, few_of, plural

Granularities = Sequence[tuple[str, float]]
"""(name, granularity) pairs, as ``class_granularities`` returns them."""


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


def check_granularities(path: str, found: Granularities, dataset: Dataset, level: str) -> None:
    """Refuse results that give an evaluation no granularity, before it begins.

    Args:
        path: folder of the results, for the message.
        found: their granularities.
        dataset: the evaluated split.
        level: the evaluated level, or ``all``.

    Raises:
        UserError: the results have no masks of an evaluated level, or none of a class of the data set.
    """
    known = dict(found)
    evaluated = [each for each in dataset.levels if level in ("all", each)]
    for each in evaluated:
        if each not in known:
            raise UserError(
                f"--granularity-from {path} has no {each} masks, and {each} masks are evaluated; make such results "
                f"with agg eval run --curves --level {each}, or leave these masks out with --level"
            )
    kinds = {kind for name in known for of, _, kind in [name.partition(":")] if kind and of in evaluated}
    classes = dataset.selection.get("classes") or dataset.classes
    if kinds and classes and not any(_alike(kind, name) for kind in kinds for name in classes):
        raise UserError(
            f"--granularity-from {path} has none of the classes of {dataset.name} that are evaluated, but "
            f"{few_of(sorted(kinds))}; give results of the same classes, or one number with --granularity"
        )


def _alike(kind: str, name: str) -> bool:
    """Whether a class of masks may be of a published class: a part is "dog ear", where "dog" or "Dog Ear" is listed."""
    one, other = f" {kind.casefold()} ", f" {name.casefold()} "
    return one in other or other in one


def without_granularity(level: str, classes: Iterable[str], found: Granularities) -> str:
    """Say which classes have got the granularity of all masks of their level, because they have none of their own.

    Args:
        level: object or part.
        classes: classes of the evaluated masks of the level; "" where the class is unknown.
        found: the granularities.

    Returns:
        One line; "" if every class has its own.
    """
    known = dict(found)
    lacking = sorted(kind for kind in classes if kind and f"{level}:{kind}" not in known)
    if not lacking:
        return ""
    which = "its" if len(lacking) == 1 else "their"
    return (
        f"{plural(len(lacking), f'{level} class', f'{level} classes')} without {which} own granularity in the other "
        f"results, evaluated at that of all {level}s: {few_of(lacking)}"
    )


def _best(granularity: Json | None, target: str) -> float:
    if granularity is None:
        raise KeyError("granularity")
    clicks, ious = granularity["noc"][target], granularity["iou"]["1"]
    best = min(range(len(GRANULARITIES)), key=lambda n: (clicks[n], -ious[n]))
    return GRANULARITIES[best]


def granularities_or_stand_in(path: str) -> tuple[tuple[str, float], ...]:
    """The same, or some granularity if there are no such results yet: a prediction takes as long with any other."""
    return class_granularities(path) if Store(path).exists(SUMMARY) else (("part", 1.0),)
