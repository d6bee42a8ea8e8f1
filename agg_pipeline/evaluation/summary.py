"""The figures of an evaluation: ``summary.json`` from its tables (protocol, section 3; paper, section 4)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
import pyarrow as pa

from agg_pipeline.execution.plan import described
from schemas.canonical import Json
from schemas.numbers import BINS, GRANULARITIES
from stages.evaluate import noc
from stages.metrics import bootstrap_means, control

RESULTS_VERSION = 1
"""Format of summary.json."""
NOC_AT = (0.80, 0.85, 0.90)
IOU_AT = (1, 2, 3, 5, 10, 20)
SIZES = {"small": 32**2, "medium": 96**2, "large": math.inf}
"""COCO's: the area in pixels below which a mask has the size."""


@dataclass(frozen=True, eq=False)
class Run:
    """An interaction: IoU and pixels of the predicted mask after every click."""

    granularity: float | None
    chosen: bool
    ious: tuple[float, ...]
    areas: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Mask:
    """An evaluated mask with its interactions. kind: class in words. target: IoU at which it is reached."""

    target_id: str
    image_id: str
    level: str
    kind: str | None
    area: int
    target: float
    runs: tuple[Run, ...]

    @property
    def chosen(self) -> Run:
        """The interaction that is reported."""
        return next(run for run in self.runs if run.chosen)

    @property
    def size(self) -> str:
        """Small, medium or large, as COCO has it."""
        return next(name for name, limit in SIZES.items() if self.area < limit)


@dataclass(frozen=True)
class Protocol:
    """What of the configuration the figures depend on."""

    mode: str
    max_clicks: int
    early_stop: bool
    seed: int

    def noc_at(self, masks: Sequence[Mask]) -> list[float]:
        """The IoUs whose NoC is known of all masks: those at which no interaction had ended before."""
        lowest = min(mask.target for mask in masks)
        return [iou for iou in sorted({*NOC_AT, lowest}) if not self.early_stop or iou <= lowest]

    def iou_at(self) -> list[int]:
        """The clicks whose IoU is reported."""
        return [k for k in IOU_AT if k <= self.max_clicks]


def iou_name(iou: float) -> str:
    """An IoU as a key: 0.85, or 0.875 where two digits are not enough."""
    return f"{iou:.2f}" if round(iou, 2) == iou else f"{iou:g}"


def masks_of(targets: pa.Table, clicks: pa.Table) -> list[Mask]:
    """The masks of an evaluation with their interactions, in the order of the tables.

    ValueError if the two tables do not belong together.
    """
    columns = ["target_id", "attempt", "granularity", "chosen", "iou", "area"]
    rows = zip(*(clicks[name].to_pylist() for name in columns), strict=True)
    runs: dict[str, list[Run]] = {}
    for (target_id, _), group in groupby(rows, key=itemgetter(0, 1)):
        own = list(group)
        _, _, granularity, chosen, _, _ = own[0]
        ious, areas = tuple(row[4] for row in own), tuple(row[5] for row in own)
        runs.setdefault(target_id, []).append(Run(granularity, chosen, ious, areas))
    masks = targets.to_pylist()
    if {row["target_id"] for row in masks} != set(runs):
        raise ValueError("targets and objects are not of the same masks")
    if any(sum(run.chosen for run in own) != 1 for own in runs.values()):
        raise ValueError("of some mask not exactly one interaction is the chosen one")
    return [
        Mask(
            row["target_id"],
            row["image_id"],
            row["level"],
            row["class"],
            row["area"],
            row["target"],
            tuple(runs[row["target_id"]]),
        )
        for row in masks
    ]


def protocol_of(plan: Json) -> Protocol:
    """What of a plan's configuration the figures depend on."""
    config = plan["config"]
    return Protocol(config["mode"], config["clicks"]["max_clicks"], config["clicks"]["early_stop"], config["seed"])


def summarise(tables: dict[str, pa.Table], plan: Json) -> Json:
    """Everything that the tables say, by level, and there by class and by size; with what it was measured on."""
    masks = masks_of(tables["targets"], tables["objects"])
    protocol = protocol_of(plan)
    levels = {}
    for level in levels_of(masks):
        own = [mask for mask in masks if mask.level == level]
        levels[level] = {
            "all": figures(own, protocol),
            "by_size": _by(own, lambda mask: mask.size, tuple(SIZES), protocol),
            "by_class": _by(own, lambda mask: mask.kind or "", sorted({mask.kind or "" for mask in own}), protocol),
        }
    rejects = tables["rejects"]["reason"].to_pylist()
    return {
        "format_version": RESULTS_VERSION,
        "plan": described(plan) | {"config_hash": plan["config_hash"]},
        "granularity_chosen_by": "ground truth" if protocol.mode in ("optimal", "curves", "best_of") else None,
        "iou_carried_forward": protocol.early_stop,
        "masks": len(masks),
        "images": len({mask.image_id for mask in masks}),
        "targets": hash_of(mask.target_id for mask in masks),
        "rejects": {reason: rejects.count(reason) for reason in sorted(set(rejects))},
        "levels": levels,
    }


def levels_of(masks: Sequence[Mask]) -> list[str]:
    """The levels that there are masks of, objects first."""
    return sorted({mask.level for mask in masks})


def hash_of(target_ids: Iterator[str] | Sequence[str]) -> str:
    """Hash of a list of masks, whatever its order: equal if the same masks were evaluated."""
    return hashlib.blake2b("\n".join(sorted(target_ids)).encode(), digest_size=16).hexdigest()


def _by(masks: list[Mask], key: Callable[[Mask], str], names: Sequence[str], protocol: Protocol) -> Json:
    groups: dict[str, list[Mask]] = {}
    for mask in masks:
        groups.setdefault(key(mask), []).append(mask)
    return {name: figures(groups[name], protocol) for name in names if name in groups}


def figures(masks: Sequence[Mask], protocol: Protocol) -> Json:
    """NoC, masks that are not reached, IoU@k; where there are several granularities, also their figures."""
    chosen = [mask.chosen for mask in masks]
    noc_at, iou_at = protocol.noc_at(masks), protocol.iou_at()
    clicks = [[float(noc(run.ious, iou, protocol.max_clicks)) for iou in noc_at] for run in chosen]
    columns = np.hstack([np.reshape(clicks, (len(masks), -1)), [[iou_after(run, k) for k in iou_at] for run in chosen]])
    means = [asdict(each) for each in bootstrap_means(columns, [mask.image_id for mask in masks], protocol.seed)]
    found = {
        "masks": len(masks),
        "images": len({mask.image_id for mask in masks}),
        "noc": {iou_name(iou): means[n] for n, iou in enumerate(noc_at)},
        "at_limit": {
            iou_name(iou): sum(row[n] == protocol.max_clicks for row in clicks) for n, iou in enumerate(noc_at)
        },
        "iou": {str(k): means[len(noc_at) + n] for n, k in enumerate(iou_at)},
        "empty": sum(not any(run.areas) for run in chosen),
    }
    if protocol.mode in ("optimal", "curves"):
        found["granularity"] = _granularity(masks, protocol)
    return found


def iou_after(run: Run, click: int) -> float:
    """IoU after a click; that after the last one if the interaction has fewer."""
    return run.ious[min(click, len(run.ious)) - 1]


def _granularity(masks: Sequence[Mask], protocol: Protocol) -> Json:
    """How often each granularity was the best, how well granularity controls the output, and the curves of Fig. 4."""
    controls = [asdict(control([run.areas[0] for run in mask.runs])) for mask in masks]
    names = list(controls[0])
    values = np.array([[each[name] for name in names] for each in controls])
    means = bootstrap_means(values, [mask.image_id for mask in masks], protocol.seed)
    ratios = values[:, names.index("ratio")]
    there = ratios[~np.isnan(ratios)]
    best = [mask.chosen.granularity for mask in masks]
    # After the first click an interaction may have ended because another one had won.
    clicks = protocol.iou_at() if protocol.mode == "curves" else [1]
    return {
        "values": list(GRANULARITIES),
        "chosen": [best.count(value) for value in GRANULARITIES],
        "control": {name: _without_nan(asdict(mean)) for name, mean in zip(names, means, strict=True)},
        "median_ratio": float(np.median(there)) if there.size else None,
        "iou": {
            str(k): [float(np.mean([iou_after(mask.runs[n], k) for mask in masks])) for n in range(BINS)]
            for k in clicks
        },
        "noc": {
            iou_name(iou): [
                float(np.mean([noc(mask.runs[n].ious, iou, protocol.max_clicks) for mask in masks]))
                for n in range(BINS)
            ]
            for iou in (protocol.noc_at(masks) if protocol.mode == "curves" else ())
        },
    }


def _without_nan(values: Json) -> Json:
    """JSON has no NaN."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}
