"""Configuration of proposals and evaluation: one small frozen dataclass per stage, and presets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from schemas.fields import number

Source = Literal["agg", "gt"]
Mode = Literal["none", "fixed", "per_class", "optimal", "curves", "best_of"]


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """Multi-granularity loop simulation (Section 3.2, Eq. 1-2).

    rounds: loops of each object, with clicks of their own.
    min_negatives, max_negatives: range of the number N of iterations after Y_0, drawn per loop.
    keep: every Y_t is a candidate, or only the last one. min_distance: smallest distance of a new click from every
    earlier one, as a share of the diagonal of the object's box; 0 for no check. max_draws: tries per click. contrast: a
    negative click is, of so many pixels that it may fall on, the one that differs most from the positive click's in
    colour; 1 for any, as in the paper. zoom: the first prediction, too, is made on a region: around the object.
    min_mask_area: no new click at a step where the mask has fewer pixels (the forward still runs).
    """

    rounds: int = number(1, 1, 1000)
    min_negatives: int = number(3, 0)
    max_negatives: int = number(6, 0, 23)
    keep: Literal["all", "last"] = "all"
    min_distance: float = number(0.05, 0, 1)
    max_draws: int = number(20, 1)
    contrast: int = number(1, 1)
    zoom: bool = False
    min_mask_area: int = number(0, 0)


@dataclass(frozen=True, slots=True)
class MaskConfig:
    """Post-processing of proposals and complements.

    fill_holes, cut_to_object: applied to proposals. component: the largest 8-connected component, or the release's
    choice (with two or more: a random one of those above random_component_area, else the largest).
    opening: side of the square that opens complements, 1 for none. min_area: pixels, or min_area_share of the object
    if that is less. max_object_iou, max_proposal_iou: above, the mask repeats the object or an earlier proposal.
    min_rounded_complement: smallest scale, rounded to 0.1, of a complement.
    """

    fill_holes: bool = True
    cut_to_object: bool = True
    component: Literal["largest", "random"] = "largest"
    random_component_area: int = number(1500, 0)
    opening: int = number(3, 1)
    min_area: int = number(400, 1)
    min_area_share: float = number(0.01, 0, 1)
    max_object_iou: float = number(0.98, 0, 1)
    max_proposal_iou: float = number(0.95, 0, 1)
    min_rounded_complement: float = number(0.0, 0, 1)


@dataclass(frozen=True, slots=True)
class GranularityConfig:
    """Granularity estimator (Eq. 3-6).

    click: the centre of the mask, or a random pixel of the eroded mask. object_prompt: the object mask is the mask
    prompt. weight: lambda of Eq. 6. min_object_peak: below, the model is flat on the object and the scale alone counts.
    rounded: scale and semantic are rounded to 0.1 and combined as the release's training does.
    """

    click: Literal["centre", "eroded"] = "centre"
    object_prompt: bool = True
    weight: float = number(0.5, 0, 1)
    min_object_peak: float = number(0.05, 0, 1)
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class ClicksConfig:
    """Simulated interaction for evaluation (protocol, section 3).

    object_target, part_target: IoU at which the interaction with an object, or a part, has succeeded.
    threshold: a pixel above this probability is in the mask. early_stop: end an interaction that has succeeded, and one
    that needs more clicks than another one of its mask. carry_roi: the interactions of a mask run one after the other,
    and each starts with the region of interest that the one before it left, as in the release.
    """

    max_clicks: int = number(20, 1)
    object_target: float = number(0.9, 0, 1)
    part_target: float = number(0.85, 0, 1)
    threshold: float = number(0.5, 0, 1)
    early_stop: bool = True
    carry_roi: bool = False


@dataclass(frozen=True, slots=True)
class PredictorConfig:
    """Prediction around the network. input_size: side in pixels, 0 for the size that the checkpoint was trained at.

    bins: from a granularity to its row of the table, the nearest one or the release's.
    """

    input_size: int = number(0, 0, 4096)
    flip: bool = False
    bins: Literal["nearest", "released"] = "nearest"
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: int = number(1, 1, 1024)


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How the work is cut. batch_pixels: image pixels summed over the objects of a batch (bounds its memory)."""

    images_per_shard: int = number(32, 1)
    batch_objects: int = number(8, 1)
    batch_pixels: int = number(8_000_000, 1)


@dataclass(frozen=True, slots=True)
class ProposalsConfig:
    """Everything but data and model that decides the content of a proposal database.

    source: where the masks come from, AGG's simulated clicks or annotated parts (ground truth).
    min_box_fill: objects that fill a smaller share of their box are left out, 0 for none.
    """

    preset: Literal["paper", "parts", "released"] = "paper"
    source: Source = "agg"
    seed: int = number(0, 0, 2**63 - 1)
    min_box_fill: float = number(0.0, 0, 1)
    loop: LoopConfig = field(default_factory=LoopConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    granularity: GranularityConfig = field(default_factory=GranularityConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """Everything but data and model that decides the result of an evaluation.

    level: which masks are evaluated, those that the set has of objects, of parts, or both. sample: so many of each
    level, drawn by the seed; 0 for all.
    mode: without granularity; with a fixed one (``granularity``), or one for each class (``granularities``: by
    "level:class", by "level" for classes that are not named); the best of 0.1 ... 1.0 for each mask, found by the
    ground truth, alone ("optimal") or with all ten interactions to their end ("curves"); or the best of ``attempts``
    interactions without granularity whose first clicks differ.
    """

    preset: Literal["paper", "released"] = "paper"
    seed: int = number(0, 0, 2**63 - 1)
    level: Literal["all", "object", "part"] = "all"
    sample: int = number(0, 0)
    mode: Mode = "none"
    granularity: float = number(1.0, 0, 1)
    granularities: tuple[tuple[str, float], ...] = ()
    attempts: int = number(10, 1, 1000)
    clicks: ClicksConfig = field(default_factory=ClicksConfig)
    predictor: PredictorConfig = field(default_factory=lambda: PredictorConfig(flip=True))
    # An image takes so long that larger shards would leave workers without work in the end.
    batch: BatchConfig = field(default_factory=lambda: BatchConfig(images_per_shard=8))


EVALUATION_PRESETS: dict[str, EvaluationConfig] = {
    "paper": EvaluationConfig(),
    "released": EvaluationConfig(
        preset="released", clicks=ClicksConfig(carry_roi=True), predictor=PredictorConfig(flip=True, bins="released")
    ),
}

PRESETS: dict[str, ProposalsConfig] = {
    "paper": ProposalsConfig(),
    # Clicks that meet more annotated parts; measured in docs/results/benchmarks.md.
    "parts": ProposalsConfig(preset="parts", loop=LoopConfig(contrast=8, zoom=True)),
    "released": ProposalsConfig(
        preset="released",
        min_box_fill=0.08,
        loop=LoopConfig(min_negatives=2, max_negatives=4, keep="last", min_distance=0.0, min_mask_area=400),
        masks=MaskConfig(
            fill_holes=False,
            cut_to_object=False,
            component="random",
            opening=1,
            min_area=1,
            min_area_share=1.0,
            max_object_iou=1.0,
            max_proposal_iou=1.0,
            min_rounded_complement=0.2,
        ),
        granularity=GranularityConfig(click="eroded", object_prompt=False, min_object_peak=0.0, rounded=True),
        predictor=PredictorConfig(flip=True),
    ),
}
