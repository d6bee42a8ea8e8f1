"""The metrics of an evaluation: ``summary.json`` from its tables (protocol, section 3; paper, section 4)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from agg_pipeline.evaluation.mask_results import SIZES, MaskResult, iou_after, masks_of
from agg_pipeline.evaluation.result_rows import CLICKS, DamagedRowsError
from agg_pipeline.execution.plan import described
from schemas.canonical import Json
from schemas.config import EvaluationConfig
from schemas.numbers import GRANULARITIES
from schemas.resolve import in_range, override
from schemas.words import excerpt, plural
from stages.evaluate import noc
from stages.metrics import bootstrap_means, control

RESULTS_VERSION = 1
"""Format of ``summary.json``."""
NOC_AT = (0.80, 0.85, 0.90)
"""IoUs at which NoC is reported."""
CLICKS_KEYS = ("max_clicks", "early_stop", "object_target", "part_target")
"""What the metrics depend on, of the configuration of clicks."""
IOU_AT = (1, 2, 3, 5, 10, 20)
"""Clicks after which the IoU is reported."""


@dataclass(frozen=True)
class MetricSettings:
    """The part of an evaluation's configuration that its metrics depend on.

    Attributes:
        mode: how granularities are chosen (``EvaluationConfig.mode``).
        max_clicks: clicks after which an interaction ends.
        early_stop: whether an interaction ends when it has succeeded.
        seed: seed of the bootstrap.
        interactions: interactions with each mask; in the mode best_of at most.
    """

    mode: str
    max_clicks: int
    early_stop: bool
    seed: int
    interactions: int

    def noc_at(self, masks: Sequence[MaskResult]) -> list[float]:
        """IoUs whose NoC is known for all masks: those that every interaction was continued for."""
        lowest = min(mask.target for mask in masks)
        return [iou for iou in sorted({*NOC_AT, lowest}) if not self.early_stop or iou <= lowest]

    def check(self, masks: Sequence[MaskResult]) -> None:
        """DamagedRowsError if the interactions with the masks are not those of an evaluation with these settings."""
        for mask in masks:
            count, granularities = len(mask.interactions), [each.granularity for each in mask.interactions]
            clicks = max(len(each.ious) for each in mask.interactions)
            if clicks > self.max_clicks:
                what = f"{plural(clicks, 'click')} instead of at most {self.max_clicks}"
            elif count > self.interactions or (count < self.interactions and self.mode != "best_of"):
                what = f"{plural(count, 'interaction')} instead of {self.interactions}"
            elif self.mode in ("optimal", "curves") and granularities != list(GRANULARITIES):
                what = "other granularities than 0.1, 0.2, ..., 1.0"
            else:
                continue
            raise DamagedRowsError(CLICKS, f"has {what} for the mask {excerpt(mask.target_id)} in mode {self.mode}")

    def iou_at(self) -> list[int]:
        """Clicks whose IoU is reported."""
        return [k for k in IOU_AT if k <= self.max_clicks]


def metric_settings(plan: Json) -> MetricSettings:
    """The part of a plan's configuration that the metrics depend on; UserError if a value is not possible."""
    config = metric_config(plan)
    clicks = config.clicks
    return MetricSettings(config.mode, clicks.max_clicks, clicks.early_stop, config.seed, config.interactions)


def metric_config(plan: Json) -> EvaluationConfig:
    """The same as a configuration, with the targets of the levels; other keys have their defaults."""
    config = plan["config"]
    chosen = {key: config[key] for key in ("mode", "seed", "attempts") if key in config}
    clicks = {key: config["clicks"][key] for key in CLICKS_KEYS if key in config["clicks"]}
    return in_range(override(EvaluationConfig(), chosen | {"clicks": clicks}))


def iou_name(iou: float) -> str:
    """An IoU as a key: "0.85", or "0.875" if two digits are not enough."""
    return f"{iou:.2f}" if round(iou, 2) == iou else f"{iou:g}"


def summarise(tables: dict[str, pa.Table], plan: Json) -> Json:
    """Compute all metrics of an evaluation.

    Args:
        tables: its tables, by name.
        plan: its plan.

    Returns:
        The content of ``summary.json``: metrics per level, in total, by size and by class, and what was evaluated.

    Raises:
        DamagedRowsError: the rows are not those of such an evaluation.
    """
    settings = metric_settings(plan)
    masks = masks_of(tables["targets"], tables["objects"])
    settings.check(masks)
    levels = {}
    for level in levels_of(masks):
        own = [mask for mask in masks if mask.level == level]
        classes = sorted({_class(mask) for mask in own})
        levels[level] = {
            "all": figures(own, settings),
            "by_size": _by_group(own, lambda mask: mask.size, tuple(SIZES), settings),
            "by_class": _by_group(own, _class, classes, settings),
        }
    reasons = tables["rejects"]["reason"].to_pylist()
    return {
        "format_version": RESULTS_VERSION,
        "plan": described(plan) | {"config_hash": plan["config_hash"]},
        "granularity_chosen_by": "ground truth" if settings.mode in ("optimal", "curves", "best_of") else None,
        "iou_carried_forward": settings.early_stop,
        "masks": len(masks),
        "images": len({mask.image_id for mask in masks}),
        "targets": hash_of(mask.target_id for mask in masks),
        "rejects": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        "levels": levels,
    }


def levels_of(masks: Sequence[MaskResult]) -> list[str]:
    """The levels of some masks, objects first."""
    return sorted({mask.level for mask in masks})


def hash_of(target_ids: Iterable[str]) -> str:
    """Hash of a set of masks; it does not depend on their order."""
    return hashlib.blake2b("\n".join(sorted(target_ids)).encode(), digest_size=16).hexdigest()


def _class(mask: MaskResult) -> str:
    return mask.class_name or ""


def _by_group(
    masks: list[MaskResult], group_of: Callable[[MaskResult], str], names: Sequence[str], settings: MetricSettings
) -> Json:
    groups: dict[str, list[MaskResult]] = {}
    for mask in masks:
        groups.setdefault(group_of(mask), []).append(mask)
    return {name: figures(groups[name], settings) for name in names if name in groups}


def figures(masks: Sequence[MaskResult], settings: MetricSettings) -> Json:
    """Compute the metrics of some masks of one level.

    Args:
        masks: the masks; at least one.
        settings: what the metrics depend on.

    Returns:
        ``noc`` by IoU and ``iou`` by click, each as a mean with its 95 % interval; ``at_limit``, masks that need the
        last click or are not reached, by IoU; ``empty``, masks for which nothing was ever predicted; where several
        granularities were tried, ``granularity``.
    """
    chosen = [mask.chosen for mask in masks]
    noc_at, iou_at = settings.noc_at(masks), settings.iou_at()
    clicks = np.array([[noc(each.ious, iou, settings.max_clicks) for iou in noc_at] for each in chosen], float)
    ious = np.array([[iou_after(each, k) for k in iou_at] for each in chosen])
    images = [mask.image_id for mask in masks]
    means = [asdict(mean) for mean in bootstrap_means(np.hstack([clicks, ious]), images, settings.seed)]
    at_limit = (clicks == settings.max_clicks).sum(axis=0)
    found = {
        "masks": len(masks),
        "images": len(set(images)),
        "noc": {iou_name(iou): means[n] for n, iou in enumerate(noc_at)},
        "at_limit": {iou_name(iou): int(at_limit[n]) for n, iou in enumerate(noc_at)},
        "iou": {str(k): means[len(noc_at) + n] for n, k in enumerate(iou_at)},
        "empty": sum(not any(each.areas) for each in chosen),
    }
    if settings.mode in ("optimal", "curves"):
        found["granularity"] = _granularity(masks, settings)
    return found


def _granularity(masks: Sequence[MaskResult], settings: MetricSettings) -> Json:
    """How often each granularity was the best, how well granularity controls the output, and the curves of Fig. 4."""
    best = [mask.chosen.granularity for mask in masks]
    # Without curves, an interaction may have ended after its first click because another one had won.
    iou_at = settings.iou_at() if settings.mode == "curves" else [1]
    noc_at = settings.noc_at(masks) if settings.mode == "curves" else []
    return {
        "values": list(GRANULARITIES),
        "chosen": [best.count(value) for value in GRANULARITIES],
        **_controllability(masks, settings),
        "iou": {
            str(k): _column_means([[iou_after(each, k) for each in mask.interactions] for mask in masks])
            for k in iou_at
        },
        "noc": {
            iou_name(iou): _column_means(
                [[noc(each.ious, iou, settings.max_clicks) for each in mask.interactions] for mask in masks]
            )
            for iou in noc_at
        },
    }


def _controllability(masks: Sequence[MaskResult], settings: MetricSettings) -> Json:
    controls = [asdict(control([each.areas[0] for each in mask.interactions])) for mask in masks]
    names = list(controls[0])
    values = np.array([[each[name] for name in names] for each in controls])
    means = bootstrap_means(values, [mask.image_id for mask in masks], settings.seed)
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
