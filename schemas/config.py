"""Configuration: one small frozen dataclass per stage, two presets, and the hash of what is resolved."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_type_hints

from schemas.errors import UserError

Preset = Literal["paper", "released"]
Source = Literal["agg", "gt"]
TrainingSource = Literal["agg", "gt", "gt+agg", "object"]
Mode = Literal["none", "fixed", "per_class", "optimal", "curves", "best_of"]
C = TypeVar("C")

INFINITY = float("inf")


def _number(default: Any, low: float, high: float = INFINITY) -> Any:
    """A field with the smallest and the largest value that it may have."""
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """Multi-granularity loop simulation (Section 3.2, Eq. 1-2).

    min_negatives, max_negatives: range of the number N of iterations after Y_0, drawn per object.
    keep: every Y_t is a candidate, or only the last one. min_distance: smallest distance of a new click from every
    earlier one, as a share of the diagonal of the object's box; 0 for no check. max_draws: tries per click.
    min_mask_area: no new click at a step where the mask has fewer pixels (the forward still runs).
    """

    min_negatives: int = _number(3, 0)
    max_negatives: int = _number(6, 0, 23)
    keep: Literal["all", "last"] = "all"
    min_distance: float = _number(0.05, 0, 1)
    max_draws: int = _number(20, 1)
    min_mask_area: int = _number(0, 0)


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
    random_component_area: int = _number(1500, 0)
    opening: int = _number(3, 1)
    min_area: int = _number(400, 1)
    min_area_share: float = _number(0.01, 0, 1)
    max_object_iou: float = _number(0.98, 0, 1)
    max_proposal_iou: float = _number(0.95, 0, 1)
    min_rounded_complement: float = _number(0.0, 0, 1)


@dataclass(frozen=True, slots=True)
class GranularityConfig:
    """Granularity estimator (Eq. 3-6).

    click: the centre of the mask, or a random pixel of the eroded mask. object_prompt: the object mask is the mask
    prompt. weight: lambda of Eq. 6. min_object_peak: below, the model is flat on the object and the scale alone counts.
    rounded: scale and semantic are rounded to 0.1 and combined as the release's training does.
    """

    click: Literal["centre", "eroded"] = "centre"
    object_prompt: bool = True
    weight: float = _number(0.5, 0, 1)
    min_object_peak: float = _number(0.05, 0, 1)
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class ClicksConfig:
    """Simulated interaction for evaluation (protocol, section 3).

    object_target, part_target: IoU at which the interaction with an object, or a part, has succeeded.
    threshold: a pixel above this probability is in the mask. early_stop: end an interaction that has succeeded, and one
    that needs more clicks than another one of its mask. carry_roi: the interactions of a mask run one after the other,
    and each starts with the region of interest that the one before it left, as in the release.
    """

    max_clicks: int = _number(20, 1)
    object_target: float = _number(0.9, 0, 1)
    part_target: float = _number(0.85, 0, 1)
    threshold: float = _number(0.5, 0, 1)
    early_stop: bool = True
    carry_roi: bool = False


@dataclass(frozen=True, slots=True)
class PredictorConfig:
    """Prediction around the network. input_size: side in pixels, 0 for the size that the checkpoint was trained at.

    bins: from a granularity to its row of the table, the nearest one or the release's.
    """

    input_size: int = _number(0, 0, 4096)
    flip: bool = False
    bins: Literal["nearest", "released"] = "nearest"
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: int = _number(1, 1, 1024)


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How the work is cut. batch_pixels: image pixels summed over the objects of a batch (bounds its memory)."""

    images_per_shard: int = _number(32, 1)
    batch_objects: int = _number(8, 1)
    batch_pixels: int = _number(8_000_000, 1)


@dataclass(frozen=True, slots=True)
class ProposalsConfig:
    """Everything but data and model that decides the content of a proposal database.

    source: where the masks come from, AGG's simulated clicks or annotated parts (ground truth).
    min_box_fill: objects that fill a smaller share of their box are left out, 0 for none.
    """

    preset: Preset = "paper"
    source: Source = "agg"
    seed: int = _number(0, 0, 2**63 - 1)
    min_box_fill: float = _number(0.0, 0, 1)
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

    preset: Preset = "paper"
    seed: int = _number(0, 0, 2**63 - 1)
    level: Literal["all", "object", "part"] = "all"
    sample: int = _number(0, 0)
    mode: Mode = "none"
    granularity: float = _number(1.0, 0, 1)
    granularities: tuple[tuple[str, float], ...] = ()
    attempts: int = _number(10, 1, 1000)
    clicks: ClicksConfig = field(default_factory=ClicksConfig)
    predictor: PredictorConfig = field(default_factory=lambda: PredictorConfig(flip=True))
    # An image takes so long that larger shards would leave workers without work in the end.
    batch: BatchConfig = field(default_factory=lambda: BatchConfig(images_per_shard=8))


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """Augmentation for training (protocol, section 5). Probabilities and shares lie in [0, 1], angles in degrees.

    size: side of the crop, pixels. view: "crop" scales the image (min_scale ... max_scale) and cuts a crop out of it,
    as in the protocol; "zoom" squeezes the whole image (with probability whole_image) or a region around the object
    into it, as the predictor does: the object's box grown by min_zoom ... max_zoom, at least min_side pixels, moved by
    up to jitter of its sides. keep_background: share of the crops without a pixel of the mask that are not drawn again.
    min_area: of a mask in the crop, pixels; below, there is nothing to find.
    """

    size: int = _number(448, 32, 4096)
    view: Literal["crop", "zoom"] = "crop"
    min_scale: float = _number(0.75, 0.01, 100)
    max_scale: float = _number(1.25, 0.01, 100)
    whole_image: float = _number(0.5, 0, 1)
    min_zoom: float = _number(1.0, 1, 100)
    max_zoom: float = _number(2.0, 1, 100)
    min_side: int = _number(64, 1, 100_000)
    jitter: float = _number(0.2, 0, 1)
    flip: float = _number(0.5, 0, 1)
    turn_90: float = _number(0.5, 0, 1)
    shift_and_rotate: float = _number(0.75, 0, 1)
    max_shift: float = _number(0.03, 0, 1)
    max_rotation: float = _number(3.0, 0, 180)
    brightness_and_contrast: float = _number(0.75, 0, 1)
    max_brightness: float = _number(0.25, 0, 1)
    min_contrast: float = _number(-0.15, -1, 10)
    max_contrast: float = _number(0.4, -1, 10)
    colour_shift: float = _number(0.75, 0, 1)
    max_colour_shift: float = _number(10.0, 0, 255)
    keep_background: float = _number(0.01, 0, 1)
    min_area: int = _number(80, 0)


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """Granularity-controllable learning (Section 3.3): everything but data and model that decides the weights.

    source: masks to learn from: AGG's proposals, annotated parts, both, or objects alone (all with the objects).
    sampling: inverse to the frequency of granularities within each image, or over the whole database.
    granularity_definition: Eq. 6, or the scale alone (Fig. 6). epochs: an epoch draws one mask of every image.
    batch: samples of a step; accumulate: parts in which a batch goes through the network. max_rounds: of iterative
    clicks before the step. decay_epoch: after it the learning rate is lr * decay. lora, granularity: the two components
    of Table 3; without LoRA all weights are trained. lora_targets: projections that LoRA updates.
    loaders: processes that prepare samples, 0 for none.
    """

    recipe: str = "paper"
    seed: int = _number(0, 0, 2**63 - 1)
    source: TrainingSource = "agg"
    sampling: Literal["image", "global"] = "image"
    granularity_definition: Literal["both", "scale"] = "both"
    epochs: int = _number(55, 1)
    batch: int = _number(32, 1)
    accumulate: int = _number(1, 1)
    max_rounds: int = _number(3, 0, 23)
    lr: float = _number(5e-5, 0, 1)
    decay_epoch: int = _number(50, 0)
    decay: float = _number(0.1, 0, 1)
    lora: bool = True
    granularity: bool = True
    rank: int = _number(8, 1, 1024)
    lora_targets: Literal["qk", "qv"] = "qk"
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    device: str = "cpu"
    devices: int = _number(1, 1, 1024)
    threads: int = _number(1, 1, 1024)
    loaders: int = _number(1, 0, 1024)


EVALUATION_PRESETS: dict[str, EvaluationConfig] = {
    "paper": EvaluationConfig(),
    "released": EvaluationConfig(
        preset="released", clicks=ClicksConfig(carry_roi=True), predictor=PredictorConfig(flip=True, bins="released")
    ),
}

PRESETS: dict[str, ProposalsConfig] = {
    "paper": ProposalsConfig(),
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


def override(config: Any, changes: dict[str, Any], where: str = "") -> Any:
    """A copy of a (nested) frozen dataclass with some fields replaced; unknown keys and wrong types are UserErrors.

    changes: nested like the dataclass, as read from TOML. where: prefix of the key in messages.
    """
    hints = get_type_hints(type(config))
    values: dict[str, Any] = {}
    for key, value in changes.items():
        name = f"{where}{key}"
        if key not in hints:
            raise UserError(f"unknown configuration key {name!r}; possible here: {', '.join(sorted(hints))}")
        current = getattr(config, key)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, dict):
                raise UserError(f"configuration key {name!r} is a table, not {value!r}")
            values[key] = override(current, value, f"{name}.")
        else:
            values[key] = _checked(name, value, current, hints[key])
    return dataclasses.replace(config, **values)


def _checked(name: str, value: Any, current: Any, hint: Any) -> Any:
    choices = getattr(hint, "__args__", None)
    if choices and value not in choices:
        raise UserError(f"configuration key {name!r} is {value!r}; possible: {', '.join(map(repr, choices))}")
    if isinstance(current, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(current):
        raise UserError(f"configuration key {name!r} is {value!r}; a value of type {type(current).__name__} is needed")
    return value


def validated(config: C) -> C:
    """The configuration itself if every number lies in its range; UserError names the first that does not."""
    for name, value, (low, high) in _ranges(config):
        if not low <= value <= high or value == INFINITY:
            bound = f"at least {low}" if high == INFINITY else f"from {low} to {high}"
            raise UserError(f"configuration key {name!r} is {value}; it must be {bound}")
    if isinstance(config, ProposalsConfig):
        loop = config.loop
        if loop.max_negatives < loop.min_negatives:
            raise UserError(
                f"configuration key 'loop.max_negatives' is {loop.max_negatives}; "
                f"it must be from {loop.min_negatives} to 23"
            )
        if config.masks.opening % 2 == 0:
            raise UserError(f"configuration key 'masks.opening' is {config.masks.opening}; it must be odd")
    if isinstance(config, EvaluationConfig):
        _check_mode(config)
    if isinstance(config, ProposalsConfig | EvaluationConfig):
        _check_device("predictor.device", config.predictor.device)
    if isinstance(config, FinetuneConfig):
        _check_device("device", config.device)
    return config


def _check_mode(config: EvaluationConfig) -> None:
    """UserError for what contradicts the mode, or is without effect in it."""
    mode, default = config.mode, EvaluationConfig()
    if mode == "curves" and config.clicks.early_stop:
        raise UserError("configuration key 'clicks.early_stop' must be false in the mode 'curves'")
    if mode != "fixed" and config.granularity != default.granularity:
        raise UserError(f"configuration key 'granularity' has no effect in the mode {mode!r}, only in 'fixed'")
    if (mode == "per_class") != bool(config.granularities):
        raise UserError("configuration key 'granularities' belongs to the mode 'per_class', and this mode to it")
    if mode != "best_of" and config.attempts != default.attempts:
        raise UserError(f"configuration key 'attempts' has no effect in the mode {mode!r}, only in 'best_of'")
    if mode in ("none", "fixed", "per_class") and config.clicks.carry_roi and config.preset != "released":
        raise UserError(
            f"configuration key 'clicks.carry_roi' has no effect in the mode {mode!r}: it is about several "
            "interactions with the same mask (optimal, curves, best_of)"
        )


def _check_device(name: str, device: str) -> None:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UserError(f"configuration key {name!r} is {device!r}; possible: cpu, cuda, cuda:N")


def _ranges(config: Any, where: str = "") -> Iterator[tuple[str, float, tuple[float, float]]]:
    """Dotted name, value, and smallest and largest legal value of every number."""
    for each in dataclasses.fields(config):
        value, name = getattr(config, each.name), f"{where}{each.name}"
        if dataclasses.is_dataclass(value):
            yield from _ranges(value, f"{name}.")
        elif "range" in each.metadata:
            yield name, value, each.metadata["range"]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same text for the same content."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any) -> str:
    """Hex blake2b (128 bits) of the canonical JSON of a value."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


def flatten(value: Any, where: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys; lists are leaves."""
    if not isinstance(value, dict):
        return {where: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{where}.{key}" if where else str(key))
    return flat


def differences(old: Any, new: Any) -> list[str]:
    """One line for each dotted key whose value differs: ``key: old -> new``."""
    before, after = flatten(old), flatten(new)
    missing = object()
    lines = []
    for key in sorted(before.keys() | after.keys()):
        a, b = before.get(key, missing), after.get(key, missing)
        if a != b:
            lines.append(f"{key}: {_shown(a, missing)} -> {_shown(b, missing)}")
    return lines


def _shown(value: Any, missing: object) -> str:
    text = "(absent)" if value is missing else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
