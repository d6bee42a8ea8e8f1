"""The metrics of an evaluation: ``summary.json`` from its tables (protocol, section 3; paper, section 4)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
import pyarrow as pa

from agg_pipeline.execution.plan import described
from schemas.canonical import Json
from schemas.numbers import GRANULARITIES
from stages.evaluate import noc
from stages.metrics import bootstrap_means, control

RESULTS_VERSION = 1
"""Format of ``summary.json``."""
NOC_AT = (0.80, 0.85, 0.90)
"""IoUs at which NoC is reported."""
IOU_AT = (1, 2, 3, 5, 10, 20)
"""Clicks after which the IoU is reported."""
SIZES = {"small": 32**2, "medium": 96**2, "large": math.inf}
"""COCO's size classes: a mask has the first size whose area, in pixels, is larger than its own."""


@dataclass(frozen=True, eq=False)
class Run:
    """One interaction with a mask.

    Attributes:
        granularity: granularity of its predictions; None if none was given.
        chosen: whether it is the reported interaction of its mask.
        ious: IoU after every click.
        areas: pixels of the predicted mask after every click.
    """

    granularity: float | None
    chosen: bool
    ious: tuple[float, ...]
    areas: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Mask:
    """An evaluated mask with its interactions.

    Attributes:
        target_id: id of the mask.
        image_id: id of its image.
        level: object or part.
        kind: class in words; None if unknown.
        area: pixels of the mask.
        target: IoU at which an interaction with it has succeeded.
        runs: its interactions, in order.
    """

    target_id: str
    image_id: str
    level: str
    kind: str | None
    area: int
    target: float
    runs: tuple[Run, ...]

    @property
    def chosen(self) -> Run:
        """The reported interaction."""
        return next(run for run in self.runs if run.chosen)

    @property
    def size(self) -> str:
        """COCO's size class: small, medium or large."""
        return next(name for name, limit in SIZES.items() if self.area < limit)


@dataclass(frozen=True)
class Protocol:
    """The part of an evaluation's configuration that its metrics depend on.

    Attributes:
        mode: how granularities are chosen (``EvaluationConfig.mode``).
        max_clicks: clicks after which an interaction ends.
        early_stop: whether an interaction ends when it has succeeded.
        seed: seed of the bootstrap.
    """

    mode: str
    max_clicks: int
    early_stop: bool
    seed: int

    def noc_at(self, masks: Sequence[Mask]) -> list[float]:
        """IoUs whose NoC is known for all masks: those that every interaction was continued for."""
        lowest = min(mask.target for mask in masks)
        return [iou for iou in sorted({*NOC_AT, lowest}) if not self.early_stop or iou <= lowest]

    def iou_at(self) -> list[int]:
        """Clicks whose IoU is reported."""
        return [k for k in IOU_AT if k <= self.max_clicks]


def iou_name(iou: float) -> str:
    """An IoU as a key: "0.85", or "0.875" if two digits are not enough."""
    return f"{iou:.2f}" if round(iou, 2) == iou else f"{iou:g}"


def masks_of(targets: pa.Table, clicks: pa.Table) -> list[Mask]:
    """Read the masks of an evaluation with their interactions.

    Args:
        targets: rows of ``targets.parquet``.
        clicks: rows of ``objects.parquet``; the rows of an interaction are consecutive.

    Returns:
        The masks in the order of ``targets``.

    Raises:
        ValueError: the tables do not belong together.
    """
    runs_of = _runs_of(clicks)
    rows = targets.to_pylist()
    if {row["target_id"] for row in rows} != set(runs_of):
        raise ValueError("targets and objects are not of the same masks")
    if any(sum(run.chosen for run in runs) != 1 for runs in runs_of.values()):
        raise ValueError("some mask does not have exactly one chosen interaction")
    return [
        Mask(
            target_id=row["target_id"],
            image_id=row["image_id"],
            level=row["level"],
            kind=row["class"],
            area=row["area"],
            target=row["target"],
            runs=tuple(runs_of[row["target_id"]]),
        )
        for row in rows
    ]


def _runs_of(clicks: pa.Table) -> dict[str, list[Run]]:
    """The interactions of every mask, by target id."""
    columns = ["target_id", "attempt", "granularity", "chosen", "iou", "area"]
    rows = zip(*(clicks[name].to_pylist() for name in columns), strict=True)
    runs_of: dict[str, list[Run]] = {}
    for (target_id, _), group in groupby(rows, key=itemgetter(0, 1)):
        _, _, granularities, chosen, ious, areas = zip(*group, strict=True)
        runs_of.setdefault(target_id, []).append(Run(granularities[0], chosen[0], ious, areas))
    return runs_of


def protocol_of(plan: Json) -> Protocol:
    """The part of a plan's configuration that the metrics depend on."""
    config = plan["config"]
    return Protocol(config["mode"], config["clicks"]["max_clicks"], config["clicks"]["early_stop"], config["seed"])


def summarise(tables: dict[str, pa.Table], plan: Json) -> Json:
    """Compute all metrics of an evaluation.

    Args:
        tables: its tables, by name.
        plan: its plan.

    Returns:
        The content of ``summary.json``: metrics per level, in total, by size and by class, and what was evaluated.
    """
    masks = masks_of(tables["targets"], tables["objects"])
    protocol = protocol_of(plan)
    levels = {}
    for level in levels_of(masks):
        own = [mask for mask in masks if mask.level == level]
        classes = sorted({_class(mask) for mask in own})
        levels[level] = {
            "all": figures(own, protocol),
            "by_size": _by_group(own, lambda mask: mask.size, tuple(SIZES), protocol),
            "by_class": _by_group(own, _class, classes, protocol),
        }
    reasons = tables["rejects"]["reason"].to_pylist()
    return {
        "format_version": RESULTS_VERSION,
        "plan": described(plan) | {"config_hash": plan["config_hash"]},
        "granularity_chosen_by": "ground truth" if protocol.mode in ("optimal", "curves", "best_of") else None,
        "iou_carried_forward": protocol.early_stop,
        "masks": len(masks),
        "images": len({mask.image_id for mask in masks}),
        "targets": hash_of(mask.target_id for mask in masks),
        "rejects": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        "levels": levels,
    }


def levels_of(masks: Sequence[Mask]) -> list[str]:
    """The levels of some masks, objects first."""
    return sorted({mask.level for mask in masks})


def hash_of(target_ids: Iterable[str]) -> str:
    """Hash of a set of masks; it does not depend on their order."""
    return hashlib.blake2b("\n".join(sorted(target_ids)).encode(), digest_size=16).hexdigest()


def _class(mask: Mask) -> str:
    return mask.kind or ""


def _by_group(masks: list[Mask], group_of: Callable[[Mask], str], names: Sequence[str], protocol: Protocol) -> Json:
    groups: dict[str, list[Mask]] = {}
    for mask in masks:
        groups.setdefault(group_of(mask), []).append(mask)
    return {name: figures(groups[name], protocol) for name in names if name in groups}


def figures(masks: Sequence[Mask], protocol: Protocol) -> Json:
    """Compute the metrics of some masks of one level.

    Args:
        masks: the masks; at least one.
        protocol: what the metrics depend on.

    Returns:
        ``noc`` by IoU and ``iou`` by click, each as a mean with its 95 % interval; ``at_limit``, masks that need the
        last click or are not reached, by IoU; ``empty``, masks for which nothing was ever predicted; where several
        granularities were tried, ``granularity``.
    """
    runs = [mask.chosen for mask in masks]
    noc_at, iou_at = protocol.noc_at(masks), protocol.iou_at()
    clicks = np.array([[noc(run.ious, iou, protocol.max_clicks) for iou in noc_at] for run in runs], float)
    ious = np.array([[iou_after(run, k) for k in iou_at] for run in runs])
    images = [mask.image_id for mask in masks]
    means = [asdict(mean) for mean in bootstrap_means(np.hstack([clicks, ious]), images, protocol.seed)]
    at_limit = (clicks == protocol.max_clicks).sum(axis=0)
    found = {
        "masks": len(masks),
        "images": len(set(images)),
        "noc": {iou_name(iou): means[n] for n, iou in enumerate(noc_at)},
        "at_limit": {iou_name(iou): int(at_limit[n]) for n, iou in enumerate(noc_at)},
        "iou": {str(k): means[len(noc_at) + n] for n, k in enumerate(iou_at)},
        "empty": sum(not any(run.areas) for run in runs),
    }
    if protocol.mode in ("optimal", "curves"):
        found["granularity"] = _granularity(masks, protocol)
    return found


def iou_after(run: Run, click: int) -> float:
    """IoU after a click; if the interaction has fewer clicks, after its last one."""
    return run.ious[min(click, len(run.ious)) - 1]


def _granularity(masks: Sequence[Mask], protocol: Protocol) -> Json:
    """How often each granularity was the best, how well granularity controls the output, and the curves of Fig. 4."""
    best = [mask.chosen.granularity for mask in masks]
    # Without curves, an interaction may have ended after its first click because another one had won.
    iou_at = protocol.iou_at() if protocol.mode == "curves" else [1]
    noc_at = protocol.noc_at(masks) if protocol.mode == "curves" else []
    return {
        "values": list(GRANULARITIES),
        "chosen": [best.count(value) for value in GRANULARITIES],
        **_controllability(masks, protocol),
        "iou": {str(k): _column_means([[iou_after(run, k) for run in mask.runs] for mask in masks]) for k in iou_at},
        "noc": {
            iou_name(iou): _column_means(
                [[noc(run.ious, iou, protocol.max_clicks) for run in mask.runs] for mask in masks]
            )
            for iou in noc_at
        },
    }


def _controllability(masks: Sequence[Mask], protocol: Protocol) -> Json:
    controls = [asdict(control([run.areas[0] for run in mask.runs])) for mask in masks]
    names = list(controls[0])
    values = np.array([[each[name] for name in names] for each in controls])
    means = bootstrap_means(values, [mask.image_id for mask in masks], protocol.seed)
    ratios = values[:, names.index("ratio")]
    ratios = ratios[~np.isnan(ratios)]
    return {
        "control": {name: _without_nan(asdict(mean)) for name, mean in zip(names, means, strict=True)},
        "median_ratio": float(np.median(ratios)) if ratios.size else None,
    }


def _column_means(rows: Sequence[Sequence[float]]) -> list[float]:
    return [float(np.mean(column)) for column in zip(*rows, strict=True)]


def _without_nan(values: Json) -> Json:
    """JSON has no NaN: None takes its place."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}
